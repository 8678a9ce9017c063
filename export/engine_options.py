"""The options of efq-export that say how TensorRT builds an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from efq.export.engine_settings import EngineSettings
from efq.runtime.commands.options import DEVICE, PATH, TEXT
from efq.runtime.errors import UsageError
from efq.runtime.tensorrt.build.options import BuildOptions

_OPTIONS = (
    click.option("--engine/--no-engine", default=None, help="TensorRT: build the engine now.  [default: build]"),
    click.option(
        "--batch",
        "batches",
        type=TEXT,
        metavar="MIN,OPT,MAX",
        help="TensorRT: batch sizes of the engine.  [default: 1,8,64]",
    ),
    click.option(
        "--compute-capability",
        "capabilities",
        multiple=True,
        type=TEXT,
        metavar="N.N",
        help="trt-rtx: a GPU the engine is for; may be given several times.  [default: every supported GPU]",
    ),
    click.option(
        "--workspace",
        type=click.IntRange(1, 2**20),
        metavar="MIB",
        help="TensorRT: the most scratch memory of a kernel.",
    ),
    click.option("--builder-level", type=click.IntRange(0, 5), help="trt: builder optimization level, 0 to 5."),
    click.option("--timing-cache", type=PATH, help="trt: file of kernel timings, read and written."),
    click.option(
        "--version-compatible", is_flag=True, help="trt: later TensorRT versions may load the engine, slower."
    ),
    click.option(
        "--hardware-compatible", is_flag=True, help="trt: any GPU from Ampere on may load the engine, slower."
    ),
    click.option("--device", type=DEVICE, help="trt: the GPU to build on.  [default: cuda:0]"),
)


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a click command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def engine_settings(
    target: str,
    *,
    builds_engine: bool,
    engine: bool | None,
    batches: str | None,
    capabilities: tuple[str, ...],
    workspace: int | None,
    builder_level: int | None,
    timing_cache: Path | None,
    version_compatible: bool,
    hardware_compatible: bool,
    device: str | None,
) -> EngineSettings | None:
    """What the options say, or None for a target without an engine.

    Raises UsageError for values out of range, or for any of these options where there is no engine.
    """
    given = {
        "--engine or --no-engine": engine,
        "--batch": batches,
        "--compute-capability": capabilities or None,
        "--workspace": workspace,
        "--builder-level": builder_level,
        "--timing-cache": timing_cache,
        "--version-compatible": version_compatible or None,
        "--hardware-compatible": hardware_compatible or None,
        "--device": device,
    }
    if not builds_engine:
        named = [name for name, value in given.items() if value is not None]
        if named:
            message = f"target {target} builds no engine: leave out {', '.join(named)}"
            raise UsageError(message)
        return None
    if engine is False and (timing_cache is not None or device is not None):
        message = "expected --timing-cache and --device with an engine to build, found --no-engine: leave them out"
        raise UsageError(message)
    options = BuildOptions(
        batches=BuildOptions().batches if batches is None else _batch_sizes(batches),
        compute_capabilities=capabilities,
        workspace_mib=workspace,
        level=builder_level,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
    )
    return EngineSettings(
        options=options, build=engine is not False, timing_cache=timing_cache, device=device or "cuda:0"
    )


def _batch_sizes(text: str) -> tuple[int, int, int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(part.isdecimal() and part.isascii() and len(part) <= 5 for part in parts):
        message = f"expected --batch as three sizes, least, optimal and largest, such as 1,8,64; found {text!r}"
        raise UsageError(message)
    least, optimal, largest = (int(part) for part in parts)
    return least, optimal, largest
