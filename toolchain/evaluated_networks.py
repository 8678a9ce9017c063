"""The networks that `efq-evaluate` measures: a model and, where one is named, a reference beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from efq.runtime.commands.options import refuse_unused
from efq.runtime.errors import UsageError

if TYPE_CHECKING:
    from efq.toolchain.networks import EmbeddingNetwork


def open_evaluated(
    model: Path,
    reference: Path | None,
    *,
    backbone: str | None,
    teacher_input: str | None,
    device: str | None,
    threads: int | None,
    backend: str,
    as_float: bool,
) -> list[EmbeddingNetwork]:
    """Open the model and the reference (`open_network`); the command's end closes them.

    as_float: the model, a student, without its quantizers. Raises what `open_network` does, and UsageError for options
    that neither network has a use for, and for networks that take different images.
    """
    from efq.toolchain.networks import network_kind, open_network

    files = [path for path in (model, reference) if path is not None]
    if not any(path.is_dir() for path in files):
        refuse_unused(("backend",), f"without an artifact folder, which {model} is not")
    if "teacher" not in {network_kind(path) for path in files}:
        refuse_unused(("backbone", "teacher_input"), "without a teacher: students and artifacts say what they are")
    networks = [
        click.get_current_context().with_resource(
            open_network(
                path,
                backbone=backbone,
                teacher_input=teacher_input,
                device=device,
                threads=threads,
                runtime=backend,
                quantized=not (as_float and path is model),
            )
        )
        for path in files
    ]
    if any(network.contract != networks[0].contract for network in networks):
        message = (
            f"expected model and reference to take the same images, found {networks[0].contract.to_dict()} "
            f"and {networks[1].contract.to_dict()}; evaluate them one by one"
        )
        raise UsageError(message)
    return networks
