"""Let a network that was trained on BGR take RGB: its first layers' weights reordered, the function unchanged."""

from __future__ import annotations

import operator

import torch
from torch import fx, nn
from torch.nn import functional

from efq.runtime.errors import CheckpointError

_PASSED = ("contiguous", "float", "to")
_ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.truediv, torch.add, torch.sub, torch.mul, torch.div)
_REVERSED = [2, 1, 0]
_TOLERANCE = 1e-3


def reverse_colors(network: nn.Module, *, height: int, width: int) -> None:
    """Change `network` (N, 3, H, W) in place so that reversed channels give what the channels gave before.

    The layers that read the image are found in its traced graph: convolutions, behind crops, BatchNorms and numbers
    added or multiplied. Raises CheckpointError for a network whose image goes another way, unchanged then.
    """
    layers = _reading_layers(network)
    images = torch.linspace(-1, 1, 3 * height * width).reshape(1, 3, height, width).sin()
    with torch.inference_mode():
        wanted = network(images)
    _reverse(layers)
    with torch.inference_mode():
        found = network(images.flip(1))
    if not functional.cosine_similarity(wanted.float(), found.float()).min() >= 1 - _TOLERANCE:
        _reverse(layers)
        raise _refused(network, "reordering the weights of its first layers changes what it computes")


def _reading_layers(network: nn.Module) -> list[nn.Module]:
    try:
        graph = fx.symbolic_trace(network).graph
    except Exception as error:
        raise _refused(network, str(error)) from error
    waiting = [user for node in graph.nodes if node.op == "placeholder" for user in node.users]
    found: dict[int, nn.Module] = {}
    while waiting:
        node = waiting.pop()
        module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            found[id(module)] = module
            continue
        if isinstance(module, nn.BatchNorm2d):
            found[id(module)] = module
        elif not (isinstance(module, nn.Identity | nn.Dropout) or _is_passed(node)):
            raise _refused(network, f"its image is read by {node.name} ({node.target})")
        waiting.extend(node.users)
    return list(found.values())


def _is_passed(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _PASSED
    if node.target is operator.getitem:
        index = node.args[1]
        return isinstance(index, tuple) and index[:2] == (slice(None), slice(None))
    return node.target in _ARITHMETIC and len(node.all_input_nodes) == 1


@torch.no_grad()
def _reverse(layers: list[nn.Module]) -> None:
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            layer.weight.copy_(layer.weight[:, _REVERSED].clone())
        else:
            for tensor in (*layer.parameters(), *layer.buffers()):
                if tensor.dim() == 1:
                    tensor.copy_(tensor[_REVERSED].clone())


def _refused(network: nn.Module, reason: str) -> CheckpointError:
    return CheckpointError(
        f"expected a network whose first layers can take RGB for BGR, found {type(network).__name__}: {reason}. "
        "Reverse the input's channels in the network's own factory"
    )
