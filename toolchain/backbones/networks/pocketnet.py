"""PocketNetS and PocketNetM with their authors' keys (Boutros et al. 2021, arXiv 2108.10710): cells found by search."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from efq.toolchain.backbones.registry import Backbone, Weights, register

# A node is the sum of two operations on earlier states: 0 and 1 are the cell's inputs, 2 is the first node.
Node = tuple[tuple[str, int], tuple[str, int]]
NORMAL: tuple[Node, ...] = (
    (("conv3", 0), ("conv1", 1)),
    (("conv3", 2), ("conv5", 0)),
    (("conv3", 3), ("conv3", 0)),
    (("conv3", 4), ("skip", 0)),
)
REDUCTION: tuple[Node, ...] = (
    (("conv3", 1), ("conv7", 0)),
    (("skip", 2), ("conv5", 1)),
    (("max", 0), ("skip", 2)),
    (("max", 0), ("max", 1)),
)


class Separable(nn.Module):
    """PReLU, depthwise convolution, 1x1 convolution, BatchNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.PReLU(inputs),
            nn.Conv2d(inputs, inputs, kernel, stride, kernel // 2, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.net(features)
        return result


class MaxPool(nn.Module):
    """3x3 maximum, BatchNorm."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, stride, 1)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.bn(self.pool(features))
        return result


class FactorizedReduction(nn.Module):
    """Half the size: half the channels from the even pixels, half from the odd ones."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.relu = nn.PReLU(inputs)
        self.conv11 = nn.Conv2d(inputs, inputs, 1, 2, groups=inputs, bias=False)
        self.conv12 = nn.Conv2d(inputs, outputs // 2, 1, bias=False)
        self.conv21 = nn.Conv2d(inputs, inputs, 1, 2, groups=inputs, bias=False)
        self.conv22 = nn.Conv2d(inputs, outputs // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        active = self.relu(features)
        even = self.conv12(self.conv11(active))
        odd = self.conv22(self.conv21(active[:, :, 1:, 1:]))
        result: Tensor = self.bn(torch.cat([even, odd], 1))
        return result


class Cell(nn.Module):
    """Four nodes of `width` channels, one behind the other; half the size where `reduction`."""

    def __init__(self, before: int, previous: int, width: int, *, reduction: bool, after_reduction: bool) -> None:
        super().__init__()
        self.nodes = REDUCTION if reduction else NORMAL
        first = FactorizedReduction(before, width) if after_reduction else Separable(before, width, 1)
        self.preproc0: nn.Module = first
        self.preproc1 = Separable(previous, width, 1)
        self.dag = nn.ModuleList(
            nn.ModuleList(_operation(kind, width, 2 if reduction and state < 2 else 1) for kind, state in node)
            for node in self.nodes
        )

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        states = [self.preproc0(before), self.preproc1(previous)]
        for index, ((_, one), (_, two)) in enumerate(self.nodes):
            left, right = self.dag[index][0], self.dag[index][1]  # type: ignore[index]
            states.append(left(states[one]) + right(states[two]))
        return torch.cat(states[2:], 1)


def _operation(kind: str, width: int, stride: int) -> nn.Module:
    if kind == "skip":
        return nn.Identity()
    return MaxPool(width, stride) if kind == "max" else Separable(width, width, int(kind[-1]), stride)


class PocketNet(nn.Module):
    """float32 (N, 3, 112, 112) -> (N, embedding_size) raw embeddings.

    width: of the first cells' nodes; 16 and 18 cells in PocketNetS, 32 and 9 in PocketNetM.
    """

    def __init__(self, width: int = 16, cells: int = 18, embedding_size: int = 128) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(4 * width))
        self.cells = nn.ModuleList()
        before = previous = 4 * width
        after_reduction = False
        for index in range(cells):
            reduction = index in (cells // 3, 2 * cells // 3, cells - 1)
            width = 2 * width if reduction else width
            self.cells.append(Cell(before, previous, width, reduction=reduction, after_reduction=after_reduction))
            before, previous, after_reduction = previous, 4 * width, reduction
        last = 1024 if embedding_size == 512 else 512
        self.tail = nn.Sequential(
            *(nn.PReLU(previous), nn.Conv2d(previous, last, 1, bias=False), nn.BatchNorm2d(last), nn.PReLU(last)),
            *(nn.Conv2d(last, last, 7, groups=last, bias=False), nn.BatchNorm2d(last)),
            *(nn.Conv2d(last, embedding_size, 1, bias=False), nn.BatchNorm2d(embedding_size)),
        )

    def forward(self, images: Tensor) -> Tensor:
        before = previous = self.stem(images)
        for cell in self.cells:
            before, previous = previous, cell(before, previous)
        return torch.flatten(self.tail(previous), 1)


def _arguments_of(weights: Weights) -> dict[str, Any]:
    cells = {match[1] for match in map(re.compile(r"cells\.(\d+)\.").match, weights) if match}
    width, embedding_size = len(weights["stem.0.weight"]) // 4, len(weights["tail.6.weight"])
    return {"width": width, "cells": len(cells), "embedding_size": embedding_size}


register(
    Backbone(
        name="pocketnet",
        build=PocketNet,
        arguments_of=_arguments_of,
        keys=("stem.0.weight", "cells.0.preproc0.net.0.weight", "cells.0.dag.0.0.net.1.weight", "tail.6.weight"),
        provenance="trained on MS1MV2, whose terms are for research",
    )
)
