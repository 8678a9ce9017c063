"""What EFQ's own kernels do not compute is refused, naming the node: another runtime serves then."""

from __future__ import annotations

from typing import NoReturn

from efq.runtime.errors import IncompatibleArtifactError


class UnsupportedNodeError(IncompatibleArtifactError):
    """A graph with a node that has no form in EFQ's own kernels; its message names it."""


def refuse(node: str, found: str) -> NoReturn:
    """Raise UnsupportedNodeError for what was `found` at `node`."""
    message = (
        f"expected a graph that EFQ's own kernels compute, found {found} at the node {node!r}; open it with "
        "backend='onnxruntime'"
    )
    raise UnsupportedNodeError(message)
