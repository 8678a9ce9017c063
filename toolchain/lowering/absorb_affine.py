"""Absorb a per-channel affine map (image normalization, IResNet's pre-activation BatchNorm) into the layers that read it.

Requires: a graph with folded BatchNorms. Ensures: a ChannelAffine read only by convolutions and linear layers is gone.
The function is unchanged except where a convolution pads with zeros: the padding stood for 0 *after* the affine map and
now stands for 0 before it. The note of each such layer says how large the difference at the border is. A ChannelAffine
with another reader stays: it is a depthwise 1x1 convolution, an integer operation as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx

from efq.toolchain.lowering.graph import PassResult, calls, remove, scale_input, weighted_users
from efq.toolchain.operations import ChannelAffine, QuantizedConv2d


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
                notes.extend(border_note(str(user.target), module, affine.bias))
            scale_input(module, affine.weight, affine.bias)
        remove(network, node)
        absorbed += 1
    network.recompile()
    return PassResult(changed=absorbed, notes=tuple(notes))


@torch.no_grad()
def border_note(name: str, convolution: QuantizedConv2d, offset: Tensor) -> list[str]:
    """Empty when the border is exact, else one line with the largest output difference at the border.

    A tap over the padding now misses weight * offset[c]; the largest difference sums the absolute values of one
    whole row or column of taps. `offset` (C,) is what the affine map adds to each input channel.
    """
    if not any(convolution.padding) or not bool(offset.any()):  # type: ignore[arg-type]
        return []
    difference = border_difference(convolution, offset)
    return [f"{name}: interior exact, border outputs differ by at most {difference:.3g}"]


def border_difference(convolution: QuantizedConv2d, offset: Tensor) -> float:
    """The largest absolute output difference when zero padding replaces padding with `offset`."""
    outputs, per_group = convolution.weight.shape[:2]
    grouped = offset.reshape(convolution.groups, per_group).repeat_interleave(outputs // convolution.groups, 0)
    taps = (convolution.weight * grouped[:, :, None, None]).sum(1)  # (outputs, kernel, kernel)
    pad_rows, pad_columns = convolution.padding
    sides = []
    if pad_rows:
        sides += [taps[:, : int(pad_rows)], taps[:, -int(pad_rows) :]]
    if pad_columns:
        sides += [taps[:, :, : int(pad_columns)], taps[:, :, -int(pad_columns) :]]
    return max(float(side.sum((1, 2)).abs().max()) for side in sides)
