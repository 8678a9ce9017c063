"""MixFaceNet-S, -M and -XS with their authors' keys (Boutros et al. 2021, arXiv 2107.13046).

MixNet's units (Tan and Le 2019, arXiv 1907.09595) with PReLU at the beginning and a head of MobileFaceNet's kind. The
ShuffleMixFaceNets have the same weights by name and shape, and shuffle channels behind each unit.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from efq.toolchain.backbones.registry import Backbone, Weights, register


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitShape:
    """Of one unit of a stage.

    width: output channels. expand, depthwise, project: how many kinds of kernels its three convolutions have (1x1,
    3x3 to 11x11, 1x1). expansion: hidden channels for one of the input. squeeze: input channels for one of the
    excitation's, 0 without one.
    """

    width: int
    expand: int
    depthwise: int
    project: int
    expansion: int
    squeeze: int


def _units(
    *, widths: str, expand: str, depthwise: str, project: str, expansion: str, squeeze: int
) -> tuple[UnitShape, ...]:
    columns = [[int(number) for number in text.split()] for text in (widths, expand, depthwise, project, expansion)]
    return tuple(
        UnitShape(width=a, expand=b, depthwise=c, project=d, expansion=e, squeeze=squeeze)
        for a, b, c, d, e in zip(*columns, strict=True)
    )


STAGES = {
    "s": (
        _units(widths="24 24", expand="2 2", depthwise="1 1", project="2 2", expansion="6 3", squeeze=0),
        _units(
            widths="40 40 40 40",
            expand="1 2 2 2",
            depthwise="3 2 2 2",
            project="1 2 2 2",
            expansion="6 6 6 6",
            squeeze=2,
        ),
        _units(widths="80 80 80", expand="1 1 1", depthwise="3 2 2", project="2 2 2", expansion="6 6 6", squeeze=4),
        _units(
            widths="120 120 120 200 200 200",
            expand="2 2 2 1 1 1",
            depthwise="3 4 4 5 4 4",
            project="2 2 2 1 2 2",
            expansion="6 3 3 6 6 6",
            squeeze=2,
        ),
    ),
    "m": (
        _units(widths="32 32", expand="2 2", depthwise="3 1", project="2 2", expansion="6 3", squeeze=0),
        _units(
            widths="40 40 40 40",
            expand="1 2 2 2",
            depthwise="4 2 2 2",
            project="1 2 2 2",
            expansion="6 6 6 6",
            squeeze=2,
        ),
        _units(
            widths="80 80 80 80",
            expand="1 2 2 2",
            depthwise="3 4 4 4",
            project="1 2 2 2",
            expansion="6 6 6 6",
            squeeze=4,
        ),
        _units(
            widths="120 120 120 120 200 200 200 200",
            expand="1 2 2 2 1 1 1 1",
            depthwise="1 4 4 4 4 4 4 4",
            project="1 2 2 2 1 2 2 2",
            expansion="6 3 3 3 6 6 6 6",
            squeeze=2,
        ),
    ),
}
_STEMS = {"s": 16, "m": 24}


class MixedConv2d(nn.Module):
    """A convolution for each part of the channels; kernels of 3x3, 5x5, ... where `depthwise`, 1x1 otherwise."""

    def __init__(self, inputs: int, outputs: int, kinds: int, stride: int = 1, *, depthwise: bool = False) -> None:
        super().__init__()
        self.parts, outs = _parts(inputs, kinds), _parts(outputs, kinds)
        for index, (ins, out) in enumerate(zip(self.parts, outs, strict=True)):
            half = index + 1 if depthwise else 0
            groups = out if depthwise else 1
            convolution = nn.Conv2d(ins, out, 2 * half + 1, stride, half, groups=groups, bias=False)
            self.add_module(str(index), convolution)

    def forward(self, features: Tensor) -> Tensor:
        parts = torch.split(features, self.parts, 1)
        return torch.cat([getattr(self, str(index))(part) for index, part in enumerate(parts)], 1)


def _parts(channels: int, kinds: int) -> list[int]:
    """As equal as they can be; the first takes what is left."""
    part = channels // kinds
    return [channels - part * (kinds - 1), *[part] * (kinds - 1)]


class ConvBlock(nn.Module):
    """A convolution `conv`, BatchNorm `bn`, and `activ`, where there is one."""

    def __init__(self, convolution: nn.Module, outputs: int, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = convolution
        self.bn = nn.BatchNorm2d(outputs)
        self.activ = nn.Identity() if activation is None else activation

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.activ(self.bn(self.conv(features)))
        return result


def _pointwise(inputs: int, outputs: int, kinds: int = 1, activation: nn.Module | None = None) -> ConvBlock:
    convolution: nn.Module = nn.Conv2d(inputs, outputs, 1, bias=False)
    return ConvBlock(convolution if kinds == 1 else MixedConv2d(inputs, outputs, kinds), outputs, activation)


def _depthwise(width: int, kinds: int, stride: int, activation: nn.Module | None) -> ConvBlock:
    convolution: nn.Module = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
    mixed = MixedConv2d(width, width, kinds, stride, depthwise=True)
    return ConvBlock(convolution if kinds == 1 else mixed, width, activation)


class SqueezeExcitation(nn.Module):
    """A gate for each channel: mean, 1x1, SiLU, 1x1, sigmoid."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.activ = nn.SiLU()
        self.conv2 = nn.Conv2d(inner, width, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        gates: Tensor = self.sigmoid(self.conv2(self.activ(self.conv1(self.pool(features)))))
        return features * gates


class MixUnit(nn.Module):
    """Expansion, mixed depthwise convolution, excitation, projection, added to the input where the shapes allow it."""

    def __init__(self, inputs: int, shape: UnitShape, stride: int, *, prelu: bool, shuffle: bool) -> None:
        super().__init__()
        self.residual = inputs == shape.width and stride == 1
        self.shuffle = shuffle
        hidden = shape.expansion * inputs

        def activation() -> nn.Module:
            return nn.PReLU(hidden) if prelu else nn.SiLU()

        self.exp_conv = (
            nn.Identity() if shape.expansion == 1 else _pointwise(inputs, hidden, shape.expand, activation())
        )
        self.conv1 = _depthwise(hidden, shape.depthwise, stride, activation())
        self.se = SqueezeExcitation(hidden, inputs // shape.squeeze) if shape.squeeze else nn.Identity()
        self.conv2 = _pointwise(hidden, shape.width, shape.project)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.conv2(self.se(self.conv1(self.exp_conv(features))))
        result = result + features if self.residual else result
        return _shuffled(result) if self.shuffle else result


def _shuffled(features: Tensor) -> Tensor:
    """The even channels, then the odd ones."""
    channels, height, width = features.shape[1:]
    pairs = features.reshape(-1, channels // 2, 2, height, width)
    return pairs.transpose(1, 2).reshape(-1, channels, height, width)


class GlobalDepthwise(nn.Module):
    """7x7 global depthwise convolution and BatchNorm `dw_conv`, 1x1 convolution `pw_conv.conv`."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.dw_conv = ConvBlock(nn.Conv2d(width, width, 7, groups=width, bias=False), width)
        self.pw_conv = nn.Sequential(OrderedDict(conv=nn.Conv2d(width, outputs, 1, bias=False)))

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.pw_conv(self.dw_conv(features))
        return result


class MixFaceNet(nn.Module):
    """float32 (N, 3, 112, 112) -> (N, embedding_size) raw embeddings.

    size: "s" or "m", the units. scale: of their widths, 0.5 in the XS networks. head: channels of the last features.
    """

    def __init__(
        self, size: str, scale: float = 1.0, head: int = 1024, embedding_size: int = 512, *, shuffle: bool = False
    ) -> None:
        super().__init__()
        inputs = _scaled(_STEMS[size], scale)
        stem = ConvBlock(nn.Conv2d(3, inputs, 3, 2, 1, bias=False), inputs, nn.PReLU(inputs))
        first = UnitShape(width=inputs, expand=1, depthwise=1, project=1, expansion=1, squeeze=0)
        stages = OrderedDict[str, OrderedDict[str, nn.Module]]()
        stages["init_block"] = OrderedDict(conv1=stem, conv2=MixUnit(inputs, first, 1, prelu=True, shuffle=shuffle))
        for stage, index, shape, stride in _strided(size):
            scaled = dataclasses.replace(shape, width=_scaled(shape.width, scale))
            unit = MixUnit(inputs, scaled, stride, prelu=stage == 1, shuffle=shuffle)
            stages.setdefault(f"stage{stage}", OrderedDict())[f"unit{index}"] = unit
            inputs = scaled.width
        self.features = nn.Sequential(OrderedDict((name, nn.Sequential(units)) for name, units in stages.items()))
        self.tail = _pointwise(inputs, head, 1, nn.PReLU(head))
        self.feautre_layer = GlobalDepthwise(head, embedding_size)  # spelled so in the published checkpoints
        self.features_norm = nn.BatchNorm1d(embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        features = self.feautre_layer(self.tail(self.features(images)))
        result: Tensor = self.features_norm(torch.flatten(features, 1))
        return result


def _strided(size: str) -> Iterator[tuple[int, int, UnitShape, int]]:
    """Stage and unit, from 1, the unit's shape and stride: each stage but the first halves the features, once."""
    for stage, units in enumerate(STAGES[size], 1):
        halving = {1: 0, 4: len(units) // 2 + 1}.get(stage, 1)
        for index, shape in enumerate(units, 1):
            yield stage, index, shape, 2 if index == halving else 1


def _scaled(width: int, scale: float) -> int:
    """A multiple of 8 near `scale` times `width`, not smaller by more than a tenth."""
    if scale == 1.0:
        return width
    rounded = max(8, int(width * scale + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width * scale else rounded


def _arguments_of(weights: Weights, *, size: str) -> dict[str, Any]:
    stem, head = len(weights["features.init_block.conv1.conv.weight"]), len(weights["tail.conv.weight"])
    embedding_size = len(weights["features_norm.bias"])
    return {"scale": stem / _STEMS[size], "head": head, "embedding_size": embedding_size}


for _size, _last in (("s", 6), ("m", 8)):
    for _name, _shuffle in (("mixfacenet", False), ("shufflemixfacenet", True)):
        register(
            Backbone(
                name=f"{_name}-{_size}",
                build=functools.partial(MixFaceNet, _size, shuffle=_shuffle),
                arguments_of=functools.partial(_arguments_of, size=_size),
                keys=(f"features.stage4.unit{_last}.conv1.conv.0.weight", "tail.conv.weight", "features_norm.bias"),
                by_name_only=True,
                provenance="trained on MS1MV2, whose terms are for research",
            )
        )
