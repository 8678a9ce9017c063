"""Absorb a per-channel affine map (image normalization, IResNet's pre-activation BatchNorm) into its readers.

Requires: a graph with folded BatchNorms. Ensures: a ChannelAffine read only by convolutions and linear layers is gone.
The function is unchanged except where a convolution, or a Pad before it, pads with zeros: the padding stood for 0
*after* the affine map and now stands for 0 before it. The note of each such layer says how large the difference at the
border is. A ChannelAffine with another reader stays: it is a depthwise 1x1 convolution, an integer operation as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx
from torch.nn import functional

from efq.toolchain.graph.operations import ChannelAffine, Pad, QuantizedConv2d
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.scaling import scale_input
from efq.toolchain.graph.traversal import calls, module_of, producer, remove, weighted_users


def absorb_affine(network: fx.GraphModule) -> PassResult:
    """Absorb in place; one note for each layer whose border changes."""
    absorbed = 0
    notes: list[str] = []
    for node, affine in calls(network, ChannelAffine):
        users = weighted_users(network, node)
        if users is None:
            continue
        assert isinstance(affine, ChannelAffine)
        for user, module in users:
            if isinstance(module, QuantizedConv2d):
                pads = _pads_between(network, node, user)
                notes.extend(border_note(str(user.target), module, affine.bias, pads))
            scale_input(module, affine.weight, affine.bias)
        remove(network, node)
        absorbed += 1
    network.recompile()
    return PassResult(changed=absorbed, notes=tuple(notes))


def _pads_between(network: fx.GraphModule, node: fx.Node, user: fx.Node) -> list[Pad]:
    found = []
    while (user := producer(user)) is not node:
        module = module_of(network, user)
        if isinstance(module, Pad):
            found.append(module)
    return found


@torch.no_grad()
def border_note(name: str, convolution: QuantizedConv2d, offset: Tensor, pads: Sequence[Pad] = ()) -> list[str]:
    """Empty when the border is exact, else one line with the largest output difference at the border.

    Every tap over the padding, the convolution's own and that of `pads`, now misses weight * offset[c]. `offset` (C,)
    is what the affine map adds to each input channel.
    """
    edges = _edges(convolution, pads)
    if not any(edges) or not bool(offset.any()):
        return []
    difference = border_difference(convolution, offset, pads)
    return [f"{name}: interior exact, border outputs differ by at most {difference:.3g}"]


def border_difference(convolution: QuantizedConv2d, offset: Tensor, pads: Sequence[Pad] = ()) -> float:
    """The largest absolute output difference when zero padding replaces padding with `offset`.

    Compared at every position, corners too, of a constant input of the kernel's size; inputs are at least as large.
    """
    sizes = zip(convolution.kernel_size, convolution.dilation, strict=True)
    reach = [dilation * (kernel - 1) + 1 for kernel, dilation in sizes]
    constant = offset.reshape(1, -1, 1, 1).expand(-1, -1, *reach)
    above, before, below, behind = _edges(convolution, pads)
    padded = functional.pad(constant, (before, behind, above, below))
    outputs = functional.conv2d(padded, convolution.weight, None, 1, 0, convolution.dilation, convolution.groups)
    inside = outputs[:, :, above : above + 1, before : before + 1]
    return float((outputs - inside).abs().max())


def _edges(convolution: QuantizedConv2d, pads: Sequence[Pad]) -> tuple[int, ...]:
    """Rows and columns of zeros above, before, below and behind."""
    rows, columns = (int(size) for size in convolution.padding)
    return tuple(map(sum, zip((rows, columns, rows, columns), *(pad.edges for pad in pads), strict=True)))
