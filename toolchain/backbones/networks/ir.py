"""IR and IR-SE networks with the keys `input_layer`, `body`, `output_layer`.

InsightFace_Pytorch, face.evoLVe, FaceX-Zoo and CurricularFace have one kind of block (Deng et al. 2019, arXiv
1801.07698; squeeze-excitation: Hu et al. 2018, arXiv 1709.01507), AdaFace (Kim et al. 2022, arXiv 2204.00964) and TFace
another, with a BatchNorm behind its first convolution. None of their checkpoints says the order of its colors: it is
what the published one of that depth was trained on.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from efq.toolchain.backbones.registry import Backbone, ColorOrder, Weights, register

DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    101: (3, 13, 30, 3),
    152: (3, 8, 36, 3),
}


class SqueezeExcitation(nn.Module):
    """A gate for each channel: mean, 1x1 to a 16th, ReLU, 1x1, sigmoid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(width, width // 16, 1, bias=False)
        self.relu = nn.ReLU()
        self.fc2 = nn.Conv2d(width // 16, width, 1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        gates: Tensor = self.sigmoid(self.fc2(self.relu(self.fc1(self.avg_pool(features)))))
        return features * gates


class Unit(nn.Module):
    """A residual unit of the layers `res_layer`; its shortcut picks every other pixel, or is a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, layers: nn.Sequential) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(convolution, nn.BatchNorm2d(outputs))
        else:
            self.shortcut_layer = nn.Identity() if stride == 1 else nn.MaxPool2d(1, stride)
        self.res_layer = layers

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.res_layer(features) + self.shortcut_layer(features)
        return result


def _plain_layers(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
        nn.PReLU(outputs),
        nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _normalized_layers(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    layers = _plain_layers(inputs, outputs, stride)
    layers.insert(2, nn.BatchNorm2d(outputs))
    return layers


class IR(nn.Module):
    """float32 (N, 3, 16 * cells, 16 * cells) -> (N, embedding_size) raw embeddings.

    normalized: AdaFace's and TFace's units, with a BatchNorm behind their first convolution.
    excitation: squeeze-excitation at the end of each unit. affine: whether the last BatchNorm has weight and bias.
    cells: height and width of the last features; 7 of images of 112x112, 14 of 224x224.
    """

    def __init__(
        self,
        depth: int,
        *,
        normalized: bool = False,
        excitation: bool = False,
        affine: bool = True,
        embedding_size: int = 512,
        cells: int = 7,
    ) -> None:
        super().__init__()
        self.input_size = (16 * cells, 16 * cells)
        layers = _normalized_layers if normalized else _plain_layers
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        self.body = nn.Sequential()
        for inputs, outputs, stride in _shapes(DEPTHS[depth]):
            sequence = layers(inputs, outputs, stride)
            if excitation:
                sequence.add_module("se_block" if normalized else "5", SqueezeExcitation(outputs))
            self.body.append(Unit(inputs, outputs, stride, sequence))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(512 * cells * cells, embedding_size),
            nn.BatchNorm1d(embedding_size, affine=affine),
        )

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.output_layer(self.body(self.input_layer(images)))
        return result


def _shapes(blocks: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Inputs, outputs and stride of each unit."""
    inputs = 64
    for width, count in zip((64, 128, 256, 512), blocks, strict=True):
        for index in range(count):
            yield inputs, width, 2 if index == 0 else 1
            inputs = width


def _arguments_of(weights: Weights) -> dict[str, Any]:
    embedding_size, features = weights["output_layer.3.weight"].shape
    cells = math.isqrt(features // 512)
    return {"embedding_size": embedding_size, "cells": cells}


def _register(
    name: str,
    depth: int,
    color_order: ColorOrder,
    origin: tuple[str, str],
    *,
    std: float = 127.5,
    **options: bool,
) -> None:
    last = f"body.{sum(DEPTHS[depth]) - 1}.res_layer"
    keys = ["input_layer.0.weight", f"{last}.{5 if options.get('normalized') else 4}.running_var"]
    if options.get("excitation"):
        keys.append(f"{last}.{'se_block' if options.get('normalized') else 5}.fc1.weight")
    keys.append("output_layer.4.weight" if options.get("affine", True) else "output_layer.4.running_var")
    register(
        Backbone(
            name=name,
            build=functools.partial(IR, depth, **options),
            arguments_of=_arguments_of,
            std=(std,) * 3,
            color_order=color_order,
            keys=tuple(keys),
            licence=origin[0],
            provenance=origin[1],
        )
    )


_MS1M = "the code of {} is {}; its weights, trained on MS-Celeb-1M, have no licence"
_EVOLVE = ("unknown", _MS1M.format("face.evoLVe", "MIT"))
_TREB1EN = ("unknown", _MS1M.format("InsightFace_Pytorch", "MIT"))
_FACEX_ZOO = ("unknown", _MS1M.format("FaceX-Zoo", "Apache-2.0"))
_CURRICULAR = ("unknown", _MS1M.format("CurricularFace", "MIT"))
_ADAFACE = ("MIT", "published with AdaFace; the faces it was trained on have terms of their own")

for _depth in (50, 101, 152):
    _register(f"ir{_depth}", _depth, "rgb", _EVOLVE)
_register("ir-se50", 50, "bgr", _TREB1EN, excitation=True)
_register("ir-se101", 101, "rgb", _EVOLVE, excitation=True)
_register("ir-se152", 152, "bgr", _FACEX_ZOO, excitation=True, std=128.0)
_register("curricularface-ir101", 101, "rgb", _CURRICULAR, affine=False)
for _depth in (18, 34, 50, 101):
    _register(f"adaface-ir{_depth}", _depth, "bgr", _ADAFACE, normalized=True, affine=False)
_register("adaface-ir-se50", 50, "bgr", _ADAFACE, normalized=True, affine=False, excitation=True)
