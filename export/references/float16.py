"""A symmetric student computed in torch with the types of its TensorRT graph, rounded where the graph rounds.

Training simulates integers in float32; what the graph quantizes is float16. A value rounded to float16 may fall on the
other side of a step, and every such step changes others after it. This reference rounds where the graph must: its
constants, dequantized weights, and what it quantizes; between these, sums and activations are float32, as a fused
kernel computes them and as ONNX Runtime does on the CPU. Its embeddings are therefore those of the graph, and any
difference is an error of the export (docs/decisions/0013-tensorrt-graph.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from efq.export.qdq.weights import symmetric_layer
from efq.toolchain.graph.operations import ChannelAffine, QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.walker import Call, Handler, walk
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.quantizers.arithmetic import quantize
from efq.toolchain.student import Student


class Float16Reference(nn.Module):
    """uint8 (N, H, W, 3) images -> float32 (N, d) raw embeddings.

    `integers` holds, by name, what each quantizer gave in the last forward pass: int8, of its input's shape. With
    `forced` (the same, of another runtime) every layer computes on those integers instead of its own.
    """

    def __init__(self, student: Student, forced: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.network, self.forced = student.network, forced
        self.integers: dict[str, Tensor] = {}

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return walk(self.network, images, _HANDLERS | {ActivationQuantizer: self._quantizer})

    def _quantizer(self, call: Call, inputs: list[Tensor]) -> Tensor:
        return self._quantize(call.name, call.module, inputs[0])

    def _quantize(self, name: str, quantizer: ActivationQuantizer, values: Tensor) -> Tensor:
        scale = _round(quantizer.scale.detach())
        integers = quantize(_round(values), scale, 0.0, quantizer.lowest, quantizer.highest)
        self.integers[name] = integers.to(torch.int8)
        if self.forced is not None:
            integers = self.forced[name].float()
        return integers * scale


def _affine(call: Call, inputs: list[Tensor]) -> Tensor:
    shape = (1, -1) + (1,) * (inputs[0].dim() - 2)
    return inputs[0] * _round(call.module.weight).reshape(shape) + _round(call.module.bias).reshape(shape)


def _prelu(call: Call, inputs: list[Tensor]) -> Tensor:
    return functional.prelu(inputs[0], _round(call.module.weight))


def _as_it_is(call: Call, inputs: list[Tensor]) -> Tensor:
    result: Tensor = call.module(*inputs)
    return result


def _convolution(call: Call, inputs: list[Tensor]) -> Tensor:
    module: QuantizedConv2d = call.module
    weight, bias = _weight_and_bias(call.name, module)
    return functional.conv2d(inputs[0], weight, bias, module.stride, module.padding, module.dilation, module.groups)


def _linear(call: Call, inputs: list[Tensor]) -> Tensor:
    return functional.linear(inputs[0], *_weight_and_bias(call.name, call.module))


def _weight_and_bias(name: str, module: QuantizedConv2d | QuantizedLinear) -> tuple[Tensor, Tensor]:
    layer = symmetric_layer(name, module)
    scales = torch.from_numpy(layer.scales).float().reshape(-1, *[1] * (module.weight.dim() - 1))
    return _round(torch.from_numpy(layer.weights).float() * scales), torch.from_numpy(layer.bias).float()


def _round(values: Tensor) -> Tensor:
    """float32 values rounded to the nearest float16 ones."""
    return values.half().float()


_HANDLERS: dict[type[nn.Module], Handler[Tensor]] = {
    QuantizedConv2d: _convolution,
    QuantizedLinear: _linear,
    ChannelAffine: _affine,
    nn.PReLU: _prelu,
    nn.Module: _as_it_is,
}
