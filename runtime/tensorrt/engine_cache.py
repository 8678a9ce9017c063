"""The engine beside an artifact's model: `engine/` holds the plan, its fingerprint, the options and the build log.

The ONNX model is the source of truth and the plan a cache of it, so the folder is left out of the artifact's checksums:
the fingerprint holds the hashes of both. The folder is only ever replaced as a whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from efq.runtime.errors import CoverageError, EngineError, UsageError
from efq.runtime.files import atomic_directory, atomic_write_bytes, atomic_write_text, temporary_folder
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.reading import read_bytes, read_json, read_text, sha256_file
from efq.runtime.tensorrt.build.builder import LOG_FILE, PLAN_FILE, BuiltEngine, build_engine
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.fingerprint import EngineMachine, Fingerprint
from efq.runtime.tensorrt.module import find_package

FINGERPRINT_FILE, OPTIONS_FILE = "fingerprint.json", "options.json"

_TEXT_LIMIT, _PLAN_LIMIT = 2**20, 2**32


def write_engine(folder: Path, built: BuiltEngine, fingerprint: Fingerprint) -> None:
    """Make `folder` the engine folder of `built`, replacing an older one as a whole."""
    with atomic_directory(folder, force=True) as new:
        for name in (PLAN_FILE, LOG_FILE):
            atomic_write_bytes(new / name, (built.folder / name).read_bytes())
        atomic_write_text(new / FINGERPRINT_FILE, fingerprint.to_json())
        write_options(new, fingerprint.options)


def write_options(folder: Path, options: BuildOptions) -> None:
    """Write the options an engine is to be built with, for an artifact that has none yet."""
    atomic_write_text(folder / OPTIONS_FILE, json.dumps(options.to_dict(), sort_keys=True, indent=2) + "\n")


def read_options(folder: Path) -> BuildOptions:
    """The options in the engine folder. Raises EngineError for a file that is damaged or not there."""
    path = folder / OPTIONS_FILE
    values = read_json(path, expected="the options of an engine", limit=_TEXT_LIMIT, error_class=EngineError)
    try:
        return BuildOptions.from_dict(values)
    except UsageError as error:
        message = f"expected the options of an engine in {path}, found: {error}; export again"
        raise EngineError(message) from error


def read_engine(folder: Path, model: Path, machine: EngineMachine) -> tuple[bytes, Fingerprint]:
    """The plan in the engine folder, after every check that needs no GPU.

    Raises EngineError when there is none, when its bytes are not those recorded, or when it was built with or for
    something else than `machine` and the file `model`; the message says what differs and what to do.
    """
    fingerprint = read_fingerprint(folder)
    try:
        plan = read_bytes(folder / PLAN_FILE, limit=_PLAN_LIMIT, expected="an engine", error_class=EngineError)
    except EngineError as error:
        message = f"{error}; {_BUILD_HERE}"
        raise EngineError(message) from error
    if hashlib.sha256(plan).hexdigest() != fingerprint.plan_sha256:
        message = f"expected the plan in {folder} as its fingerprint says, found other bytes; {_BUILD_HERE}"
        raise EngineError(message)
    differences = fingerprint.differences(machine, _sha256(model))
    if differences:
        message = f"expected an engine for this machine in {folder}, found one {'; '.join(differences)}; {_BUILD_HERE}"
        raise EngineError(message)
    return plan, fingerprint


def read_fingerprint(folder: Path) -> Fingerprint:
    """The fingerprint in the engine folder. Raises EngineError when there is none."""
    path = folder / FINGERPRINT_FILE
    try:
        text = read_text(path, expected="the fingerprint of an engine", limit=_TEXT_LIMIT, error_class=EngineError)
    except EngineError as error:
        message = f"{error}; {_BUILD_HERE}"
        raise EngineError(message) from error
    return Fingerprint.from_json(text)


def rebuild_engine(
    folder: Path,
    model: Path,
    target: str,
    machine: EngineMachine,
    *,
    device: str,
    allow_float: bool,
    progress: ShowProgress = no_progress,
) -> tuple[bytes, Fingerprint]:
    """Build the engine of `model` for `machine` too, with the options in the engine folder, and keep it there.

    Raises what `build_engine` raises, CoverageError when a convolution or matrix product would run in float and
    `allow_float` is not given; the older engine stays then.
    """
    options = read_options(folder) if (folder / OPTIONS_FILE).exists() else BuildOptions()
    here = machine.compute_capability
    if options.compute_capabilities and here not in options.compute_capabilities:
        options = dataclasses.replace(options, compute_capabilities=(*options.compute_capabilities, here))
    with temporary_folder("efq-engine") as temporary:
        built = build_engine(target, model, temporary, options, device=device, progress=progress)
        float_layers = [layer.name for layer in built.layers if layer.is_product and not layer.is_integer]
        if float_layers and not allow_float:
            message = (
                f"expected every convolution and matrix product of the engine in int8, found {len(float_layers)} in "
                f"float: {', '.join(float_layers[:5])}; export the student again with this TensorRT"
            )
            raise CoverageError(message)
        fingerprint = fingerprint_of(built, target, model, options, machine)
        write_engine(folder, built, fingerprint)
        return built.plan.read_bytes(), fingerprint


def fingerprint_of(
    built: BuiltEngine, target: str, model: Path, options: BuildOptions, machine: EngineMachine | None
) -> Fingerprint:
    """The fingerprint of a new plan, built on `machine`, or ahead of time (None)."""
    here = None if find_package(target).builds_ahead else machine
    return Fingerprint(
        target=target,
        version=built.version,
        cuda=None if here is None else here.cuda,
        gpu=None if here is None else here.gpu,
        compute_capabilities=options.compute_capabilities if here is None else (here.compute_capability,),
        onnx_sha256=_sha256(model),
        plan_sha256=_sha256(built.plan),
        options=options,
    )


def _sha256(path: Path) -> str:
    return sha256_file(path, limit=_PLAN_LIMIT, expected="a model or engine")


_BUILD_HERE = "build it here: open the artifact with rebuild=True (--rebuild), or export it again on this machine"
