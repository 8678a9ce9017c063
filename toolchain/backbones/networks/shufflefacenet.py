"""ShuffleFaceNet with ShuffleFaceNet_Pytorch's keys (Martinez-Diaz et al. 2019, ICCV Workshops)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from efq.toolchain.backbones.registry import Backbone, Weights, register

_UNITS = (4, 8, 4)


def _depthwise(width: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), nn.BatchNorm2d(width)]


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.PReLU()]


class ShuffleUnit(nn.Module):
    """ShuffleNet-V2's: half of the channels pass, or at half the size all go both ways; then both are shuffled."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.halves = stride == 1
        self.branch1 = nn.Sequential()
        if not self.halves:
            self.branch1.extend([*_depthwise(inputs, stride), *_pointwise(inputs, half)])
        first = half if self.halves else inputs
        self.branch2 = nn.Sequential(*_pointwise(first, half), *_depthwise(half, stride), *_pointwise(half, half))

    def forward(self, features: Tensor) -> Tensor:
        left, right = features.chunk(2, 1) if self.halves else (features, features)
        return _shuffled(torch.cat([self.branch1(left), self.branch2(right)], 1))


def _shuffled(features: Tensor) -> Tensor:
    """One channel of the first half, one of the second, and so on."""
    channels, height, width = features.shape[1:]
    halves = features.reshape(-1, 2, channels // 2, height, width)
    return halves.transpose(1, 2).reshape(-1, channels, height, width)


class ShuffleFaceNet(nn.Module):
    """float32 (N, 3, 112, 112) -> (N, embedding_size) raw embeddings. widths: of the stages 2, 3 and 4."""

    def __init__(self, widths: tuple[int, int, int] = (176, 352, 704), embedding_size: int = 128) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.PReLU())
        inputs = 24
        for stage, (width, count) in enumerate(zip(widths, _UNITS, strict=True), 2):
            units = [ShuffleUnit(inputs, width, 2), *[ShuffleUnit(width, width, 1) for _ in range(count - 1)]]
            self.add_module(f"stage{stage}", nn.Sequential(*units))
            inputs = width
        self.conv5 = nn.Sequential(*_pointwise(inputs, 1024))
        self.gdc = nn.Sequential(nn.Conv2d(1024, 1024, 7, groups=1024, bias=False), nn.BatchNorm2d(1024), nn.PReLU())
        self.linearconv = nn.Conv1d(1024, embedding_size, 1)
        self.bn = nn.BatchNorm2d(embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv1(images)
        for stage in (2, 3, 4):
            features = getattr(self, f"stage{stage}")(features)
        features = self.gdc(self.conv5(features))
        embeddings = functional.conv2d(features, self.linearconv.weight[:, :, :, None], self.linearconv.bias)
        return torch.flatten(self.bn(embeddings), 1)


def _arguments_of(weights: Weights) -> dict[str, Any]:
    widths = tuple(2 * len(weights[f"stage{stage}.0.branch2.0.weight"]) for stage in (2, 3, 4))
    return {"widths": widths, "embedding_size": len(weights["linearconv.bias"])}


register(
    Backbone(
        name="shufflefacenet",
        build=ShuffleFaceNet,
        arguments_of=_arguments_of,
        std=(128.0, 128.0, 128.0),
        keys=("conv1.0.weight", "stage3.7.branch2.0.weight", "gdc.0.weight", "linearconv.weight"),
        provenance="trained on CASIA-WebFace, whose terms are for research",
    )
)
