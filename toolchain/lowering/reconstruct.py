"""Least-squares update of a layer's weights so that, on the student's own inputs, it gives the teacher's outputs.

Layers before it were approximated, so its inputs differ from the teacher's; the update that makes up for it in the
least-squares sense is one linear system a layer, damped towards the old weights (ridge regression).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from efq.toolchain.graph.operations import ChannelAffine, QuantizedConv2d, QuantizedLinear

ROWS = 20_000  # most positions a layer is fitted on
DAMPING = 1e-3  # of the mean diagonal of the normal equations
LARGEST_SYSTEM = 1_200  # unknowns an output; wider layers keep their weights


@torch.no_grad()
def reconstruct(module: QuantizedConv2d | QuantizedLinear | ChannelAffine, inputs: Tensor, targets: Tensor) -> bool:
    """Update weight and bias in place; False for a layer left as it is: its kind, its size, or too few equations.

    `inputs` are what the layer reads now, `targets` what it should give, both as the layer's own shapes.
    """
    if isinstance(module, QuantizedLinear):
        if module.in_features > LARGEST_SYSTEM or inputs.shape[0] < 2 * module.in_features:
            return False
        _solve_dense(module, inputs, targets - module(inputs))
        return True
    if not isinstance(module, QuantizedConv2d):
        return False
    residual = targets - module(inputs)
    if module.groups == 1:
        unknowns = module.weight[0].numel()
        if unknowns > LARGEST_SYSTEM or _positions(residual) < 2 * unknowns:
            return False
        patches, wanted = _patches(module, inputs, residual, rows=ROWS)
        _solve_dense(module, patches, wanted)
        return True
    taps = module.weight[0].numel()
    if module.groups == module.in_channels == module.out_channels and _positions(residual) >= 2 * taps:
        _solve_depthwise(module, inputs, residual)
        return True
    return False


def _positions(outputs: Tensor) -> int:
    """How many equations the positions of all images give each output channel."""
    return outputs.shape[0] * outputs.shape[2] * outputs.shape[3]


def _patches(module: QuantizedConv2d, inputs: Tensor, residual: Tensor, *, rows: int) -> tuple[Tensor, Tensor]:
    """(M, C * k * k) input patches and (M, outputs) residuals of at most about `rows` evenly spread positions."""
    positions = residual.shape[2] * residual.shape[3]
    images = max(1, min(inputs.shape[0], rows // positions))
    inputs, residual = inputs[:: inputs.shape[0] // images], residual[:: residual.shape[0] // images]
    if module.kernel_size == (1, 1) and not any(module.padding):
        strided = inputs[:, :, :: module.stride[0], :: module.stride[1]]
        return strided.permute(0, 2, 3, 1).flatten(0, 2), residual.permute(0, 2, 3, 1).flatten(0, 2)
    patches = functional.unfold(
        inputs.contiguous(),
        module.kernel_size,
        module.dilation,
        module.padding,  # type: ignore[arg-type]
        module.stride,
    )
    return patches.permute(0, 2, 1).flatten(0, 1), residual.permute(0, 2, 3, 1).flatten(0, 2)


def _solve_dense(module: QuantizedConv2d | QuantizedLinear, patches: Tensor, residual: Tensor) -> None:
    mean, mean_residual = patches.mean(0), residual.mean(0)
    centred = patches - mean
    moments = (centred.T @ centred).double()
    damping = DAMPING * moments.diagonal().mean().clamp(min=1e-12)
    moments.diagonal().add_(damping)
    update = torch.linalg.solve(moments, (centred.T @ (residual - mean_residual)).double()).float()
    module.weight.add_(update.T.reshape(module.weight.shape))
    assert module.bias is not None
    module.bias.add_(mean_residual - mean @ update)


def _solve_depthwise(module: QuantizedConv2d, inputs: Tensor, residual: Tensor) -> None:
    positions = residual.shape[2] * residual.shape[3]
    images = max(1, min(inputs.shape[0], ROWS // positions))
    step = inputs.shape[0] // images
    channels, taps = module.out_channels, module.weight[0].numel()
    for first in range(0, channels, 64):  # unfolding every channel at once would take gigabytes
        part = slice(first, min(first + 64, channels))
        width = part.stop - part.start
        patches = functional.unfold(
            inputs[::step, part].contiguous(),
            module.kernel_size,
            module.dilation,
            module.padding,  # type: ignore[arg-type]
            module.stride,
        )
        rows = patches.reshape(-1, width, taps, positions).permute(1, 0, 3, 2).flatten(1, 2)  # (width, M, taps)
        wanted = residual[::step, part].permute(1, 0, 2, 3).flatten(1)[:, :, None]
        mean, mean_wanted = rows.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
        centred = rows - mean
        moments = (centred.transpose(1, 2) @ centred).double()
        diagonal = moments.diagonal(dim1=1, dim2=2)
        diagonal.add_(DAMPING * diagonal.mean(1, keepdim=True).clamp(min=1e-12))
        update = torch.linalg.solve(moments, (centred.transpose(1, 2) @ (wanted - mean_wanted)).double()).float()
        module.weight[part].add_(update.reshape(width, *module.weight.shape[1:]))
        assert module.bias is not None
        module.bias[part].add_((mean_wanted - mean @ update).flatten())
