"""A server that an artifact is laid out for: what it needs of the graph, and how its folder is written."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from efq.runtime.errors import UsageError
from efq.runtime.faces.interface import Interface

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)

ARCFACE = Interface.parse("float-nchw,rgb,-1..1")
"""What InsightFace's models take, and its users feed."""


RAW = Interface.parse("float-nchw,rgb,raw")
"""What OpenCV's FaceRecognizerSF feeds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingOptions:
    """name: under which the model is served, the artifact's where it is None. detector: an ONNX file to put beside it.

    others: artifacts of the same model whose engines are for other GPUs.
    """

    name: str | None = None
    detector: Path | None = None
    others: tuple[Path, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingKind:
    """name: of the option. title: of the server. folder: what the option names, for --help.

    writer: "package.module:function", a `Writer` of `efq.export.serving.serve`, loaded when it is used. interface: the
    surface that the server feeds, None where it feeds any. options: those of `ServingOptions` that it takes besides
    the name.
    """

    name: str
    title: str
    folder: str
    writer: str
    interface: Interface | None = None
    options: frozenset[str] = frozenset()


def check_name(name: str) -> None:
    """Raises UsageError for one that some server, or a folder, cannot have."""
    if not _NAME.fullmatch(name):
        message = (
            f"expected a name of 1 to 128 letters, digits, dots, dashes and underscores, found {name!r}: servers and "
            "their folders take no other"
        )
        raise UsageError(message)


def check_interface(kind: ServingKind, interface: Interface) -> None:
    """Raises UsageError for a surface that the server does not feed."""
    wanted = kind.interface
    if wanted is not None and dataclasses.replace(interface, batch=None) != dataclasses.replace(wanted, batch=None):
        message = (
            f"expected a graph of the interface {wanted} for {kind.title}, which feeds no other, found {interface}: "
            f"export it with --interface {wanted}"
        )
        raise UsageError(message)
