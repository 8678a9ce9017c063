"""MobileFaceNet with InsightFace_Pytorch's keys, which FaceX-Zoo's has, too (Chen et al. 2018, arXiv 1804.07573)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from efq.toolchain.backbones.networks.mobilefacenet_variants import NamedConvBlock
from efq.toolchain.backbones.registry import Backbone, Weights, register


class DepthwiseUnit(nn.Module):
    """1x1 expansion `conv`, 3x3 depthwise `conv_dw`, linear 1x1 `project`, added to the input where `residual`."""

    def __init__(self, inputs: int, outputs: int, hidden: int, stride: int, *, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.conv = NamedConvBlock(inputs, hidden, 1)
        self.conv_dw = NamedConvBlock(hidden, hidden, 3, stride, 1, hidden)
        self.project = NamedConvBlock(hidden, outputs, 1, linear=True)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.project(self.conv_dw(self.conv(features)))
        return features + result if self.residual else result


class Stage(nn.Module):
    """`blocks` residual units of one width, in `model`."""

    def __init__(self, width: int, blocks: int, hidden: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*[DepthwiseUnit(width, width, hidden, 1, residual=True) for _ in range(blocks)])

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.model(features)
        return result


class MobileFaceNetTreB1eN(nn.Module):
    """float32 (N, 3, 16 * cells[0], 16 * cells[1]) -> (N, embedding_size) raw embeddings.

    cells: height and width of the last features, which are those of the kernel of `conv_6_dw`.
    """

    def __init__(self, embedding_size: int = 512, cells: tuple[int, int] = (7, 7)) -> None:
        super().__init__()
        self.input_size = (16 * cells[0], 16 * cells[1])
        self.conv1 = NamedConvBlock(3, 64, 3, 2, 1)
        self.conv2_dw = NamedConvBlock(64, 64, 3, 1, 1, 64)
        self.conv_23 = DepthwiseUnit(64, 64, 128, 2)
        self.conv_3 = Stage(64, 4, 128)
        self.conv_34 = DepthwiseUnit(64, 128, 256, 2)
        self.conv_4 = Stage(128, 6, 256)
        self.conv_45 = DepthwiseUnit(128, 128, 512, 2)
        self.conv_5 = Stage(128, 2, 256)
        self.conv_6_sep = NamedConvBlock(128, 512, 1)
        self.conv_6_dw = NamedConvBlock(512, 512, cells, groups=512, linear=True)
        self.linear = nn.Linear(512, embedding_size, bias=False)
        self.bn = nn.BatchNorm1d(embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv_3(self.conv_23(self.conv2_dw(self.conv1(images))))
        features = self.conv_5(self.conv_45(self.conv_4(self.conv_34(features))))
        features = self.conv_6_dw(self.conv_6_sep(features))
        result: Tensor = self.bn(self.linear(torch.flatten(features, 1)))
        return result


def _arguments_of(weights: Weights) -> dict[str, Any]:
    height, width = weights["conv_6_dw.conv.weight"].shape[2:]
    return {"embedding_size": len(weights["linear.weight"]), "cells": (height, width)}


register(
    Backbone(
        name="mobilefacenet-treb1en",
        build=MobileFaceNetTreB1eN,
        arguments_of=_arguments_of,
        color_order="bgr",
        keys=("conv1.conv.weight", "conv_4.model.5.project.conv.weight", "conv_6_dw.conv.weight", "linear.weight"),
        provenance="InsightFace_Pytorch's code is MIT; its weights, trained on MS-Celeb-1M, have no licence",
    )
)
