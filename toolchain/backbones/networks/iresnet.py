"""IResNet-18, -34, -50 and -100 with InsightFace arcface_torch's key names (Deng et al. 2019, arXiv 1801.07698).

MagFace's (Meng et al. 2021, arXiv 2103.06627) have the same keys, another constant in the BatchNorms, and another
input.
"""

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

    def __init__(self, inputs: int, outputs: int, stride: int = 1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs, epsilon)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, epsilon)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs, epsilon)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(outputs, epsilon))

    def forward(self, features: Tensor) -> Tensor:
        identity = features if self.downsample is None else self.downsample(features)
        inner = self.prelu(self.bn2(self.conv1(self.bn1(features))))
        result: Tensor = self.bn3(self.conv2(inner)) + identity
        return result


class IResNet(nn.Module):
    """float32 (N, 3, 16 * cells, 16 * cells) -> (N, embedding_size) raw embeddings.

    cells: height and width of the last features, which the size of `fc` tells: 7 of images of 112x112, 10 of 160x160.
    epsilon: of the BatchNorms.
    """

    def __init__(self, depth: int = 50, embedding_size: int = 512, cells: int = 7, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.input_size = (16 * cells, 16 * cells)
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64, epsilon)
        self.prelu = nn.PReLU(64)
        widths, inputs = (64, 128, 256, 512), 64
        for index, (width, blocks) in enumerate(zip(widths, DEPTHS[depth], strict=True)):
            rest = [Block(width, width, epsilon=epsilon) for _ in range(blocks - 1)]
            setattr(self, f"layer{index + 1}", nn.Sequential(Block(inputs, width, 2, epsilon), *rest))
            inputs = width
        self.bn2 = nn.BatchNorm2d(512, epsilon)
        self.fc = nn.Linear(512 * cells * cells, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size, epsilon)

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


for _depth, _blocks in DEPTHS.items():
    _keys = ("conv1.weight", f"layer3.{_blocks[2] - 1}.conv2.weight", "features.running_mean")
    register(
        Backbone(
            name=f"iresnet{_depth}",
            build=functools.partial(IResNet, _depth),
            arguments_of=_arguments_of,
            keys=_keys,
            licence="InsightFace weights: non-commercial research only",
        )
    )
    register(
        Backbone(
            name=f"magface-iresnet{_depth}",
            build=functools.partial(IResNet, _depth, epsilon=2e-5),
            arguments_of=_arguments_of,
            mean=(0.0, 0.0, 0.0),
            std=(255.0, 255.0, 255.0),
            color_order="bgr",
            keys=_keys,
            by_name_only=True,
            provenance="the code of MagFace is Apache-2.0; its weights, trained on MS1MV2, have no licence",
        )
    )
