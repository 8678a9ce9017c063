"""GhostNet for faces with FaceX-Zoo's and face.evoLVe's keys (Han et al. 2020, arXiv 1911.11907)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from efq.toolchain.backbones.registry import Backbone, Weights, register

# kernel, hidden channels, output channels, whether squeeze-excitation, stride
STAGES = (
    ((3, 16, 16, False, 1),),
    ((3, 48, 24, False, 2),),
    ((3, 72, 24, False, 1),),
    ((5, 72, 40, True, 2),),
    ((5, 120, 40, True, 1),),
    ((3, 240, 80, False, 2),),
    (
        *((3, 200, 80, False, 1), (3, 184, 80, False, 1), (3, 184, 80, False, 1)),
        *((3, 480, 112, True, 1), (3, 672, 112, True, 1)),
    ),
    ((5, 672, 160, True, 2),),
    ((5, 960, 160, False, 1), (5, 960, 160, True, 1), (5, 960, 160, False, 1), (5, 960, 160, True, 1)),
)


def _depthwise(width: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width, bias=False)


class GhostModule(nn.Module):
    """1x1 convolution to half the channels; a depthwise one of them gives the other half."""

    def __init__(self, inputs: int, outputs: int, *, relu: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.primary_conv = nn.Sequential(nn.Conv2d(inputs, half, 1, bias=False), nn.BatchNorm2d(half))
        self.cheap_operation = nn.Sequential(_depthwise(half, 3, 1), nn.BatchNorm2d(half))
        if relu:
            self.primary_conv.append(nn.ReLU())
            self.cheap_operation.append(nn.ReLU())

    def forward(self, features: Tensor) -> Tensor:
        primary = self.primary_conv(features)
        return torch.cat([primary, self.cheap_operation(primary)], 1)


class SqueezeExcitation(nn.Module):
    """A gate for each channel: mean, 1x1 to a quarter, ReLU, 1x1, hard sigmoid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = _multiple_of_four(width / 4)
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_reduce = nn.Conv2d(width, inner, 1)
        self.act1 = nn.ReLU()
        self.conv_expand = nn.Conv2d(inner, width, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, features: Tensor) -> Tensor:
        gates: Tensor = self.gate(self.conv_expand(self.act1(self.conv_reduce(self.avg_pool(features)))))
        return features * gates


class GhostBottleneck(nn.Module):
    """Ghost module, depthwise convolution where it halves the size, excitation, linear ghost module, and a shortcut."""

    def __init__(self, inputs: int, hidden: int, outputs: int, kernel: int, stride: int, *, excitation: bool) -> None:
        super().__init__()
        self.ghost1 = GhostModule(inputs, hidden, relu=True)
        self.conv_dw: nn.Module = nn.Identity()
        self.bn_dw: nn.Module = nn.Identity()
        if stride > 1:
            self.conv_dw, self.bn_dw = _depthwise(hidden, kernel, stride), nn.BatchNorm2d(hidden)
        self.se = SqueezeExcitation(hidden) if excitation else nn.Identity()
        self.ghost2 = GhostModule(hidden, outputs, relu=False)
        self.shortcut = nn.Sequential()
        if inputs != outputs or stride > 1:
            self.shortcut.extend([_depthwise(inputs, kernel, stride), nn.BatchNorm2d(inputs)])
            self.shortcut.extend([nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)])

    def forward(self, features: Tensor) -> Tensor:
        inner = self.se(self.bn_dw(self.conv_dw(self.ghost1(features))))
        result: Tensor = self.ghost2(inner) + self.shortcut(features)
        return result


class ConvBlock(nn.Module):
    """1x1 convolution `conv`, BatchNorm `bn1`, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.act1 = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.act1(self.bn1(self.conv(features)))
        return result


class GhostNet(nn.Module):
    """float32 (N, 3, 16 * cells, 16 * cells) -> (N, embedding_size) raw embeddings.

    cells: height and width of the last features.
    """

    def __init__(self, embedding_size: int = 512, cells: int = 7) -> None:
        super().__init__()
        self.input_size = (16 * cells, 16 * cells)
        self.conv_stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = nn.ReLU()
        self.blocks = nn.Sequential()
        inputs = 16
        for stage in STAGES:
            blocks = []
            for kernel, hidden, outputs, excitation, stride in stage:
                blocks.append(GhostBottleneck(inputs, hidden, outputs, kernel, stride, excitation=excitation))
                inputs = outputs
            self.blocks.append(nn.Sequential(*blocks))
        self.blocks.append(nn.Sequential(ConvBlock(inputs, 960)))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(960),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(960 * cells * cells, embedding_size),
            nn.BatchNorm1d(embedding_size),
        )

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.output_layer(self.blocks(self.act1(self.bn1(self.conv_stem(images)))))
        return result


def _multiple_of_four(width: float) -> int:
    """The nearest, not smaller by more than a tenth."""
    rounded = max(4, int(width + 2) // 4 * 4)
    return rounded + 4 if rounded < 0.9 * width else rounded


def _arguments_of(weights: Weights) -> dict[str, Any]:
    embedding_size, features = weights["output_layer.3.weight"].shape
    return {"embedding_size": embedding_size, "cells": math.isqrt(features // 960)}


register(
    Backbone(
        name="ghostnet",
        build=GhostNet,
        arguments_of=_arguments_of,
        std=(128.0, 128.0, 128.0),
        color_order="bgr",
        keys=("conv_stem.weight", "blocks.0.0.ghost1.primary_conv.0.weight", "output_layer.3.weight"),
        provenance="the code of FaceX-Zoo is Apache-2.0; its weights, trained on MS-Celeb-1M, have no licence",
    )
)
