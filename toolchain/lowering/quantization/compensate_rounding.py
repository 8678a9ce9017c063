"""Round weights so that the rounding errors of one output cancel on real inputs, and its mean stays what it was.

Frantar et al. 2022 (GPTQ): the inputs of a layer are taken one after another; each weight is rounded to the grid, and
the weights of the inputs still to come move by what least squares says makes up for the error, given the inputs' second
moments over faces. What rounding and clipping before a layer and in it add to the mean of an output is taken from its
bias (Nagel et al. 2019, section 4.2, with the means measured on faces). No labels, no gradient; seconds for a
MobileFaceNet.

Requires: inserted and started quantizers, weights that are not rounded yet. Ensures: every convolution and linear layer
with a quantizer has weights that lie on its grid, rounded for the inputs that the student itself, quantized up to
there, gives it, and a bias with which its outputs have the means of the float network's; all quantizers are enabled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from efq.toolchain.graph.operations import QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.quantizers import set_enabled

_FACES = (64, 128)  # at least and at most, by their size: all are in memory at once
_PIXELS = 128 * 112 * 112
_POSITIONS = 6000  # inputs of a layer that its moments are summed over
_DAMPING = 0.01  # of the mean second moment, added to each
_COLUMNS = 64  # of the weights, whose moves for all before them are one product
_ROWS = 512  # of the second moments, summed at once

SYSTEM = (1_000, 5_000)
"""Inputs of one output whose errors make up for each other: as many as there are positions, but within these.

Layers of more, as behind a Flatten, are taken in parts: the second moments of 50,000 inputs would take 20 GB.
"""


@torch.no_grad()
def compensate_rounding(network: fx.GraphModule, images: Tensor) -> PassResult:
    """Round in place; `images` uint8 (N, H, W, 3) are the faces the inputs are measured on."""
    layers = [module for module in network.modules() if _is_quantized(module)]
    if not layers:
        return PassResult(changed=0)
    fewest, most = _FACES
    faces = images[: min(max(_PIXELS // images[0, ..., 0].numel(), fewest), most)]
    means = _float_means(network, layers, faces)
    _Rounding(network, means).run(faces)
    return PassResult(changed=len(means))


class _Rounding(fx.Interpreter):
    """Runs the network and rounds each layer just before its first turn, to outputs of its `means` (C,)."""

    def __init__(self, network: fx.GraphModule, means: Mapping[nn.Module, Tensor]) -> None:
        super().__init__(network)
        self.means = dict(means)
        self.generator = torch.Generator().manual_seed(0)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        means = self.means.pop(module, None)
        if means is None:
            return super().call_module(target, args, kwargs)
        _round_layer(module, _inputs_of(module, args[0], self.generator))
        outputs = module(*args, **kwargs)
        shift = means - _channel_means(outputs)
        shift = shift.where(shift.isfinite(), 0.0)
        module.bias += shift
        return outputs + shift.reshape(-1, *[1] * (outputs.dim() - 2))


def _is_quantized(module: nn.Module) -> bool:
    return isinstance(module, QuantizedConv2d | QuantizedLinear) and module.weight_quantizer is not None


def _float_means(network: fx.GraphModule, layers: Sequence[nn.Module], faces: Tensor) -> dict[nn.Module, Tensor]:
    """The channels' means (C,) of what each of `layers` gives with every quantizer off."""
    means: dict[nn.Module, Tensor] = {}

    def record(module: nn.Module, inputs: Any, outputs: Tensor) -> None:
        means.setdefault(module, _channel_means(outputs))

    hooks = [layer.register_forward_hook(record) for layer in layers]
    set_enabled(network, enabled=False)
    network(faces)
    set_enabled(network, enabled=True)
    for hook in hooks:
        hook.remove()
    return means


def _channel_means(outputs: Tensor) -> Tensor:
    """(C,) of (N, C) or (N, C, H, W)."""
    return outputs.transpose(0, 1).flatten(1).mean(1)


def _inputs_of(module: QuantizedConv2d | QuantizedLinear, values: Tensor, generator: torch.Generator) -> Tensor:
    """(positions, groups, inputs of one output), a random sample of what `module` multiplies its weights by."""
    if isinstance(module, QuantizedLinear):
        return values[:, None]
    wanted = max(_POSITIONS, 4 * module.weight[0].numel())
    height, width = (-(-size // stride) for size, stride in zip(values.shape[2:], module.stride, strict=True))
    values = values[: max(1, -(-4 * wanted // (height * width)))]
    patches = functional.unfold(values, module.kernel_size, module.dilation, module.padding, module.stride)  # type: ignore[arg-type]
    rows = patches.reshape(len(values), module.groups, -1, patches.shape[2]).permute(0, 3, 1, 2).flatten(0, 1)
    return rows[torch.randperm(len(rows), generator=generator)[:wanted]]


def _round_layer(module: QuantizedConv2d | QuantizedLinear, inputs: Tensor) -> None:
    quantizer, groups = module.weight_quantizer, inputs.shape[1]
    assert quantizer is not None
    weights = module.weight.reshape(groups, -1, inputs.shape[2]).double()
    scales = quantizer.scale.double().reshape(groups, -1)

    def on_grid(column: Tensor) -> Tensor:
        return torch.round(column / scales).clamp(quantizer.lowest, quantizer.highest) * scales

    size = min(max(len(inputs), SYSTEM[0]), SYSTEM[1])
    parts = [slice(start, start + size) for start in range(0, inputs.shape[2], size)]
    rounded = torch.cat([_rounded(weights[:, :, part], inputs[:, :, part], on_grid) for part in parts], 2)
    module.weight.copy_(rounded.reshape(module.weight.shape))


def _rounded(weights: Tensor, inputs: Tensor, on_grid: Callable[[Tensor], Tensor]) -> Tensor:
    """(groups, outputs, n) weights on their grid, for (positions, groups, n) inputs.

    With moments R R^T, R upper triangular, the mean square of an output's error is that of d R, d = weights - rounded.
    A weight is rounded from where it makes its own place of d R zero, for which those before it are enough.
    """
    shares = _factors(_moments(inputs))
    shares /= shares.diagonal(dim1=1, dim2=2)[:, None].clone()
    weights = weights.mT.contiguous()  # all outputs' weights for one input are read together
    rounded, errors = torch.empty_like(weights), torch.empty_like(weights)
    for start in range(0, weights.shape[1], _COLUMNS):
        block = slice(start, min(start + _COLUMNS, weights.shape[1]))
        moves = shares[:, :start, block].mT @ errors[:, :start]
        for place in range(block.start, block.stop):
            rounded[:, place] = on_grid(weights[:, place] + moves[:, place - start])
            errors[:, place] = weights[:, place] - rounded[:, place]
            moves += shares[:, place, block, None] * errors[:, place, None]
    return rounded.mT


def _moments(inputs: Tensor) -> Tensor:
    """(groups, n, n) float64 means of products of (positions, groups, n) inputs: their upper triangles."""
    positions, groups, size = inputs.shape
    values = inputs.transpose(0, 1)
    moments = inputs.new_zeros(groups, size, size)
    for start in range(0, size, _ROWS):
        rows = slice(start, start + _ROWS)
        moments[:, rows, start:] = values[:, :, rows].mT @ values[:, :, start:]
    return moments.double().div_(positions)


def _factors(moments: Tensor) -> Tensor:
    """The upper triangular R of R R^T, for (groups, n, n) moments, of which the upper triangles are read.

    Where there is none, as inputs are not finite, the identity: weights are rounded to nearest.
    """
    diagonal = moments.diagonal(dim1=1, dim2=2)
    diagonal += diagonal.mean(1, keepdim=True) * _DAMPING + 1e-8
    turned, failed = torch.linalg.cholesky_ex(moments.flip(1, 2))
    factors: Tensor = turned.flip(1, 2)
    none = (failed != 0) | ~factors.isfinite().flatten(1).all(1)
    factors[none] = torch.eye(moments.shape[1], dtype=moments.dtype, device=moments.device)
    return factors
