"""IResNet-18, -34, -50 and -100 with InsightFace arcface_torch's key names (Deng et al. 2019, arXiv 1801.07698)."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor, nn

from efq.toolchain.backbones.registry import Backbone, Weights, register

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


class Block(nn.Module):
    """BatchNorm, 3x3 convolution, BatchNorm, PReLU, 3x3 convolution, BatchNorm, added to the identity branch."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        identity = features if self.downsample is None else self.downsample(features)
        inner = self.prelu(self.bn2(self.conv1(self.bn1(features))))
        result: Tensor = self.bn3(self.conv2(inner)) + identity
        return result


class IResNet(nn.Module):
    """float32 (N, 3, 16 * cells, 16 * cells) normalized RGB -> (N, embedding_size) raw embeddings.

    cells: height and width of the last features, which the size of `fc` tells: 7 of images of 112x112, 10 of 160x160.
    """

    def __init__(self, depth: int = 50, embedding_size: int = 512, cells: int = 7) -> None:
        super().__init__()
        self.input_size = (16 * cells, 16 * cells)
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        widths, inputs = (64, 128, 256, 512), 64
        for index, (width, blocks) in enumerate(zip(widths, DEPTHS[depth], strict=True)):
            stage = [Block(inputs, width, stride=2), *[Block(width, width) for _ in range(blocks - 1)]]
            setattr(self, f"layer{index + 1}", nn.Sequential(*stage))
            inputs = width
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * cells * cells, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        features = self.prelu(self.bn1(self.conv1(images)))
        for index in range(4):
            features = getattr(self, f"layer{index + 1}")(features)
        result: Tensor = self.features(self.fc(torch.flatten(self.bn2(features), 1)))
        return result


def _arguments_of(weights: Weights) -> dict[str, Any]:
    if "fc.weight" not in weights or weights["fc.weight"].dim() != 2:
        return {}
    size, features = weights["fc.weight"].shape
    cells = math.isqrt(features // 512)
    return {"embedding_size": size} | ({"cells": cells} if 512 * cells * cells == features > 0 else {})


for _depth in DEPTHS:
    register(
        Backbone(
            name=f"iresnet{_depth}",
            build=functools.partial(IResNet, _depth),
            arguments_of=_arguments_of,
            licence="InsightFace weights: non-commercial research only",
        )
    )
