"""Names of layers, from what an ONNX file calls its nodes and weights."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from efq.toolchain.graph.record import check_layer_name

_ENDS = (".weight", ".bias", ".running_mean", ".running_var")
_OTHER = re.compile(r"[^\w.-]+", re.ASCII)


def layer_name(root: nn.Module, candidates: Iterable[str], kind: str) -> str:
    """The first of `candidates` that a layer of `root` can have, or `kind` with a number."""
    for candidate in candidates:
        if _is_free(root, candidate):
            return candidate
    number = 0
    while not _is_free(root, f"{kind.lower()}_{number}"):
        number += 1
    return f"{kind.lower()}_{number}"


def candidates_of(weights: Iterable[str], node: str) -> list[str]:
    """Names for the layer of a node: its weights' where they are torch's (`layer1.0.conv1.weight`), then its own."""
    found = [name.removesuffix(end) for name in weights for end in _ENDS if name.endswith(end)]
    if node.startswith("/"):
        found.append(_module_path(node.strip("/").split("/")[:-1]))
    found.append(node)
    return [clean for name in found if (clean := _OTHER.sub("_", name).strip("._"))]


def _module_path(scopes: list[str]) -> str:
    """`/layer1/layer1.0/conv1/Conv`, as torch.onnx.export names nodes, is of the module layer1.0.conv1."""
    path: list[str] = []
    for scope in scopes:
        if path and scope.startswith(path[-1] + "."):
            path[-1] = scope
        else:
            path.append(scope)
    return ".".join(path)


def _is_free(root: nn.Module, name: str) -> bool:
    """Whether a layer can have the name, and none has it, is inside it or around it."""
    try:
        check_layer_name(name)
    except ValueError:
        return False
    owner = root
    *parents, last = name.split(".")
    for parent in parents:
        inner = getattr(owner, parent, None)
        if inner is None:
            return True
        if type(inner) is not nn.Module:  # a layer, not what holds some
            return False
        owner = inner
    return not hasattr(owner, last)
