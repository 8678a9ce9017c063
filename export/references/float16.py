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
from torch import Tensor, fx, nn
from torch.nn import functional

from efq.export.qdq.weights import symmetric_layer
from efq.toolchain.graph.operations import ChannelAffine, QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.traversal import module_of
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
        values: dict[fx.Node, Tensor] = {}
        for node in self.network.graph.nodes:
            inputs = [values[source] for source in node.all_input_nodes]
            module = module_of(self.network, node)
            if node.op == "placeholder":
                values[node] = images
            elif node.op == "output":
                return inputs[0]
            elif isinstance(module, ActivationQuantizer):
                values[node] = self._quantize(str(node.target), module, inputs[0])
            else:
                assert module is not None
                values[node] = _compute(str(node.target), module, inputs)
        message = "the student's graph has no output"
        raise AssertionError(message)

    def _quantize(self, name: str, quantizer: ActivationQuantizer, values: Tensor) -> Tensor:
        scale = _round(quantizer.scale.detach())
        integers = quantize(_round(values), scale, 0.0, quantizer.lowest, quantizer.highest)
        self.integers[name] = integers.to(torch.int8)
        if self.forced is not None:
            integers = self.forced[name].float()
        return integers * scale


def _compute(name: str, module: nn.Module, inputs: list[Tensor]) -> Tensor:
    match module:
        case QuantizedConv2d() | QuantizedLinear():
            return _weighted(name, module, inputs[0])
        case ChannelAffine():
            shape = (1, -1) + (1,) * (inputs[0].dim() - 2)
            return inputs[0] * _round(module.weight).reshape(shape) + _round(module.bias).reshape(shape)
        case nn.PReLU():
            return functional.prelu(inputs[0], _round(module.weight))
    result: Tensor = module(*inputs)
    return result


def _weighted(name: str, module: QuantizedConv2d | QuantizedLinear, values: Tensor) -> Tensor:
    layer = symmetric_layer(name, module)
    scales = torch.from_numpy(layer.scales).float().reshape(-1, *[1] * (module.weight.dim() - 1))
    weight = _round(torch.from_numpy(layer.weights).float() * scales)
    bias = torch.from_numpy(layer.bias).float()
    if isinstance(module, QuantizedLinear):
        return functional.linear(values, weight, bias)
    return functional.conv2d(values, weight, bias, module.stride, module.padding, module.dilation, module.groups)


def _round(values: Tensor) -> Tensor:
    """float32 values rounded to the nearest float16 ones."""
    return values.half().float()
