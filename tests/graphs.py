"""Small networks in the operations a traced graph consists of, and their students: what is behind the tracing, alone.

Gates, swishes, shuffles and pads as MobileNetV3, EfficientNet, ShuffleNetV2 and TensorFlow's networks have them, for
images of any size of at least 16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from networks import random_images, randomize, student_of
from torch import Tensor, fx, nn

from efq.toolchain.graph.operations import (
    OPERATIONS,
    ChannelAffine,
    ClippedRelu,
    Concat,
    Flatten,
    GlobalAveragePool,
    ImageInput,
    Multiply,
    Pad,
    QuantizedConv2d,
    QuantizedLinear,
    SelectChannels,
)
from efq.toolchain.lowering.lower import lower_graph
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import Student


def conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> QuantizedConv2d:
    return QuantizedConv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)


class Network(nn.Module):
    """Images, their normalization, `features` of `width` channels, pool and linear layer."""

    width = 24

    def __init__(self) -> None:
        super().__init__()
        self.image, self.normalization = ImageInput(), ChannelAffine(3)
        with torch.no_grad():
            self.normalization.weight.copy_(torch.tensor([1.1, 0.9, 1.2]))
            self.normalization.bias.copy_(torch.tensor([0.1, -0.2, 0.05]))
        self.pool, self.flatten, self.fc = GlobalAveragePool(), Flatten(), QuantizedLinear(self.width, 16)

    def features(self, values: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        values = self.features(self.normalization(self.image(images)))
        result: Tensor = self.fc(self.flatten(self.pool(values)))
        return result


class Gate(nn.Module):
    """Squeeze and excite: one number a channel."""

    def __init__(self, channels: int, gate: nn.Module, inner: nn.Module) -> None:
        super().__init__()
        self.pool, self.reduce, self.inner = GlobalAveragePool(), conv(channels, 4), inner
        self.expand, self.gate, self.product = conv(4, channels), gate, Multiply()

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.product(values, self.gate(self.expand(self.inner(self.reduce(self.pool(values))))))
        return result


class GatedNetwork(Network):
    """MobileNetV3's and EfficientNet's blocks: depthwise, swish, gate, pointwise."""

    def __init__(self, activation: Callable[[], nn.Module], gate: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.stem, self.first = conv(3, 16, 3, 4), activation()
        self.depthwise, self.second = conv(16, 16, 3, 2, 16), activation()
        self.excite, self.project = Gate(16, gate(), nn.ReLU()), conv(16, 12)
        self.expand, self.third = conv(12, 24), activation()
        self.excite_again, self.last = Gate(24, gate(), nn.PReLU(4)), conv(24, 24)

    def features(self, values: Tensor) -> Tensor:
        values = self.second(self.depthwise(self.first(self.stem(values))))
        values = self.project(self.excite(values))
        result: Tensor = self.last(self.excite_again(self.third(self.expand(values))))
        return result


class ShuffledNetwork(Network):
    """Two units of ShuffleNetV2: halves, one of them computed, joined and shuffled; channels in another order."""

    width = 16

    def __init__(self) -> None:
        super().__init__()
        self.reverse, self.stem, self.relu = SelectChannels((2, 1, 0)), conv(3, 16, 3, 4), nn.ReLU()
        order = tuple(range(16))
        shuffle = [*order[0:8:1], *order[8:16]]
        interleaved = torch.tensor(shuffle).reshape(2, 8).T.flatten().tolist()
        for place in (1, 2):
            setattr(self, f"left{place}", SelectChannels(order[:8]))
            setattr(self, f"right{place}", SelectChannels(order[8:]))
            layers = [conv(8, 8), nn.ReLU(), conv(8, 8, 3, 1, 8), conv(8, 8), nn.ReLU()]
            setattr(self, f"branch{place}", nn.Sequential(*layers))
            setattr(self, f"join{place}", Concat())
            setattr(self, f"shuffle{place}", SelectChannels(interleaved))
        self.turn, self.last, self.part = SelectChannels(order[::-1]), conv(16, 32), SelectChannels(range(4, 20))

    def features(self, values: Tensor) -> Tensor:
        values = self.relu(self.stem(self.reverse(values)))
        for place in (1, 2):
            left = getattr(self, f"left{place}")(values)
            right = getattr(self, f"branch{place}")(getattr(self, f"right{place}")(values))
            values = getattr(self, f"shuffle{place}")(getattr(self, f"join{place}")(left, right))
        result: Tensor = self.part(self.last(self.turn(values)))
        return result


class PaddedNetwork(Network):
    """TensorFlow's padding, which differs from side to side, in front of convolutions and of a pool; clipped ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.stem = Pad(above=0, below=1, before=0, behind=1), QuantizedConv2d(3, 16, 3, 2)
        self.clip, self.even = ClippedRelu(4.0), Pad(above=1, below=1, before=2, behind=2)
        self.second, self.again = QuantizedConv2d(16, 16, 3, 2, groups=16), ClippedRelu(2.5)
        self.around, self.pool_padded = Pad(above=1, below=0, before=0, behind=2), nn.MaxPool2d(3, 2)
        self.twice, self.third = Pad(above=0, below=2, before=1, behind=0), QuantizedConv2d(16, 24, 3, 2, 1)

    def features(self, values: Tensor) -> Tensor:
        values = self.clip(self.stem(self.pad(values)))
        values = self.again(self.second(self.even(values)))
        result: Tensor = self.third(self.twice(self.pool_padded(self.around(values))))
        return result


GRAPHS: dict[str, Callable[[], nn.Module]] = {
    "hardswish-hardsigmoid": lambda: GatedNetwork(nn.Hardswish, nn.Hardsigmoid),
    "silu-sigmoid": lambda: GatedNetwork(nn.SiLU, nn.Sigmoid),
    "gelu-hardsigmoid": lambda: GatedNetwork(nn.GELU, nn.Hardsigmoid),
    "tanh-gelu-sigmoid": lambda: GatedNetwork(lambda: nn.GELU(approximate="tanh"), nn.Sigmoid),
    "tanh-tanh": lambda: GatedNetwork(nn.Tanh, nn.Tanh),
    "shuffled": ShuffledNetwork,
    "padded": PaddedNetwork,
}


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, OPERATIONS)


def graph_of(network: nn.Module, *, seed: int = 0) -> fx.GraphModule:
    """The graph of a network of EFQ's operations with random weights, as a traced one is."""
    network = randomize(network, seed=seed, slopes=(0.2, -0.4, 0.6, 1.0))
    return fx.GraphModule(network, _Tracer().trace(network)).requires_grad_(True).eval()


def faces(count: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    """Smooth random images, uint8 (count, height, width, 3)."""
    return random_images(count, size=max(height, width), seed=seed)[:, :height, :width].contiguous()


def make_graph_student(
    graph: fx.GraphModule, *, height: int = 32, width: int = 28, images: int = 48, **recipe: Any
) -> Student:
    """The untrained student of a graph for images of that size; `recipe` changes its recipe."""
    chosen = Recipe(**{"name": "tiny", "activation": "prelu"} | recipe)
    report = lower_graph(graph, chosen, faces(images, height, width))
    return student_of(graph, chosen, report, height=height, width=width)
