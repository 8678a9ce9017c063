"""MobileFaceNet with InsightFace arcface_torch's key names (Chen et al. 2018, arXiv 1804.07573)."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from efq.toolchain.backbones.registry import Backbone, Weights, register


class ConvBlock(nn.Module):
    """Convolution, BatchNorm and, unless `linear`, a PReLU with one slope a channel."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, linear: bool = False
    ) -> None:
        super().__init__()
        padding = kernel // 2 if kernel < 7 else 0
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if not linear:
            layers.append(nn.PReLU(outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.layers(features)
        return result


class Bottleneck(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 linear projection, with an identity branch where `residual`."""

    def __init__(self, inputs: int, outputs: int, hidden: int, *, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            ConvBlock(inputs, hidden, 1),
            ConvBlock(hidden, hidden, 3, stride, groups=hidden),
            ConvBlock(hidden, outputs, 1, linear=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.layers(features)
        return features + result if self.residual else result


class Stage(nn.Module):
    """`blocks` residual bottlenecks of one width."""

    def __init__(self, width: int, blocks: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*[Bottleneck(width, width, hidden, residual=True) for _ in range(blocks)])

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.layers(features)
        return result


class EmbeddingHead(nn.Module):
    """7x7 global depthwise convolution, then the embedding layer."""

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(512, 512, 7, groups=512, linear=True),
            nn.Flatten(),
            nn.Linear(512, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size),
        )

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.layers(features)
        return result


class MobileFaceNet(nn.Module):
    """float32 (N, 3, 112, 112) normalized RGB -> (N, embedding_size) raw embeddings."""

    def __init__(
        self, embedding_size: int = 512, blocks: tuple[int, int, int, int] = (1, 4, 6, 2), scale: int = 2
    ) -> None:
        super().__init__()
        narrow, wide = 64 * scale, 128 * scale
        second = ConvBlock(narrow, narrow, 3, groups=64) if blocks[0] == 1 else Stage(narrow, blocks[0], 128)
        self.layers = nn.ModuleList(
            [
                ConvBlock(3, narrow, 3, 2),
                second,
                Bottleneck(narrow, narrow, 128, stride=2),
                Stage(narrow, blocks[1], 128),
                Bottleneck(narrow, wide, 256, stride=2),
                Stage(wide, blocks[2], 256),
                Bottleneck(wide, wide, 512, stride=2),
                Stage(wide, blocks[3], 256),
            ]
        )
        self.conv_sep = ConvBlock(wide, 512, 1)
        self.features = EmbeddingHead(embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        features = images
        for layer in self.layers:
            features = layer(features)
        result: Tensor = self.features(self.conv_sep(features))
        return result


def _arguments_of(weights: Weights) -> dict[str, Any]:
    def count(stage: int) -> int:
        pattern = re.compile(rf"layers\.{stage}\.layers\.(\d+)\.layers\.0\.layers\.0\.weight")
        return len([key for key in weights if pattern.fullmatch(key)])

    stem = weights.get("layers.0.layers.0.weight", torch.empty(128, 3, 3, 3))
    head = weights.get("features.layers.2.weight", torch.empty(512, 512))
    return {
        "embedding_size": head.shape[0],
        "blocks": (count(1) or 1, count(3), count(5), count(7)),
        "scale": stem.shape[0] // 64,
    }


MOBILEFACENET = register(
    Backbone(
        name="mobilefacenet",
        build=MobileFaceNet,
        arguments_of=_arguments_of,
        keys=("layers.0.layers.0.weight", "conv_sep.layers.0.weight", "features.layers.2.weight"),
        licence="InsightFace weights: non-commercial research only",
    )
)
