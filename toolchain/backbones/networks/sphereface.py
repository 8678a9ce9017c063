"""SphereFace-20 with sphereface_pytorch's keys (Liu et al. 2017, arXiv 1704.08063)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from efq.toolchain.backbones.registry import Backbone, Weights, register

_STAGES = ((64, 1), (128, 2), (256, 4), (512, 1))  # width, residual pairs of convolutions


class SphereFace20(nn.Module):
    """float32 (N, 3, 112, 96) -> (N, embedding_size) raw embeddings."""

    def __init__(self, embedding_size: int = 512) -> None:
        super().__init__()
        inputs = 3
        for stage, (width, pairs) in enumerate(_STAGES, 1):
            for index in range(1, 2 * pairs + 2):
                convolution = nn.Conv2d(inputs, width, 3, 2 if index == 1 else 1, 1)
                self.add_module(f"conv{stage}_{index}", convolution)
                self.add_module(f"relu{stage}_{index}", nn.PReLU(width))
                inputs = width
        self.fc5 = nn.Linear(512 * 7 * 6, embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        features = images
        for stage, (_, pairs) in enumerate(_STAGES, 1):
            features = self._activated(stage, 1, features)
            for pair in range(1, pairs + 1):
                inner = self._activated(stage, 2 * pair, features)
                features = features + self._activated(stage, 2 * pair + 1, inner)
        result: Tensor = self.fc5(torch.flatten(features, 1))
        return result

    def _activated(self, stage: int, index: int, features: Tensor) -> Tensor:
        layers = getattr(self, f"conv{stage}_{index}"), getattr(self, f"relu{stage}_{index}")
        result: Tensor = layers[1](layers[0](features))
        return result


def _arguments_of(weights: Weights) -> dict[str, Any]:
    return {"embedding_size": len(weights["fc5.weight"])}


register(
    Backbone(
        name="sphereface20",
        build=SphereFace20,
        arguments_of=_arguments_of,
        std=(128.0, 128.0, 128.0),
        size=(112, 96),
        color_order="bgr",
        keys=("conv1_1.weight", "relu3_9.weight", "fc5.weight"),
        provenance="trained on CASIA-WebFace, whose terms are for research",
    )
)
