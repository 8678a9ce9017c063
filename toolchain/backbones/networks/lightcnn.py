"""Light CNN-9, -29 and -29 v2 with their authors' keys (Wu et al. 2018, arXiv 1511.02683): gray, maxima of halves."""

from __future__ import annotations

import functools
import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from efq.toolchain.backbones.registry import Backbone, register

_WIDTHS = (48, 96, 192, 128, 128)


class MaxFeatures(nn.Module):
    """`filter`, and the larger of its two halves of channels."""

    def __init__(self, layer: nn.Module, outputs: int) -> None:
        super().__init__()
        self.filter = layer
        self.outputs = outputs

    def forward(self, features: Tensor) -> Tensor:
        filtered = self.filter(features)
        return torch.maximum(filtered[:, : self.outputs], filtered[:, self.outputs :])


def _maximum(inputs: int, outputs: int, kernel: int) -> MaxFeatures:
    return MaxFeatures(nn.Conv2d(inputs, 2 * outputs, kernel, padding=kernel // 2), outputs)


class Group(nn.Module):
    """1x1, then 3x3, each with maxima."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_a = _maximum(inputs, inputs, 1)
        self.conv = _maximum(inputs, outputs, 3)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.conv(self.conv_a(features))
        return result


class ResidualBlock(nn.Module):
    """Twice 3x3 with maxima, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _maximum(width, width, 3)
        self.conv2 = _maximum(width, width, 3)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.conv2(self.conv1(features))
        return result + features


class LightCNN9(nn.Module):
    """float32 (N, 1, 128, 128) -> (N, 256) raw embeddings."""

    def __init__(self) -> None:
        super().__init__()
        pool = functools.partial(nn.MaxPool2d, 2, 2, ceil_mode=True)
        one, two, three, four, five = _WIDTHS
        self.features = nn.Sequential(
            *(_maximum(1, one, 5), pool(), Group(one, two), pool(), Group(two, three), pool()),
            *(Group(three, four), Group(four, five), pool()),
        )
        self.fc1 = MaxFeatures(nn.Linear(8 * 8 * 128, 512), 256)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.fc1(torch.flatten(self.features(images), 1))
        return result


class LightCNN29(nn.Module):
    """float32 (N, 1, 128, 128) -> (N, 256) raw embeddings.

    second: version 2, whose pools add maximum and mean, and whose embedding is a plain linear layer.
    """

    def __init__(self, *, second: bool) -> None:
        super().__init__()
        self.second = second
        self.conv1 = _maximum(1, 48, 5)
        for index, (inputs, outputs) in enumerate(itertools.pairwise(_WIDTHS), 1):
            self.add_module(f"block{index}", nn.Sequential(*[ResidualBlock(inputs) for _ in range(index)]))
            self.add_module(f"group{index}", Group(inputs, outputs))
        self.fc = nn.Linear(8 * 8 * 128, 256) if second else MaxFeatures(nn.Linear(8 * 8 * 128, 512), 256)

    def forward(self, images: Tensor) -> Tensor:
        features = self._pooled(self.conv1(images))
        for index in (1, 2, 3, 4):
            features = getattr(self, f"group{index}")(getattr(self, f"block{index}")(features))
            features = features if index == 3 else self._pooled(features)
        result: Tensor = self.fc(torch.flatten(features, 1))
        return result

    def _pooled(self, features: Tensor) -> Tensor:
        largest = functional.max_pool2d(features, 2)
        return largest + functional.avg_pool2d(features, 2) if self.second else largest


for _name, _build, _key in (
    ("lightcnn9", LightCNN9, "fc1.filter.weight"),
    ("lightcnn29", functools.partial(LightCNN29, second=False), "fc.filter.weight"),
    ("lightcnn29-v2", functools.partial(LightCNN29, second=True), "fc.weight"),
):
    register(
        Backbone(
            name=_name,
            build=_build,
            mean=(0.0, 0.0, 0.0),
            std=(255.0, 255.0, 255.0),
            size=(128, 128),
            keys=("features.0.filter.weight" if _name == "lightcnn9" else "group4.conv_a.filter.weight", _key),
            provenance="the code of LightCNN is MIT; its weights, trained on MS-Celeb-1M, have no licence",
        )
    )
