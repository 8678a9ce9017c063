"""A float network with its normalization in front: uint8 faces in, embeddings out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NormalizedNetwork(nn.Module):
    """uint8 (N, H, W, 3) RGB -> float32 (N, d) raw embeddings of `network` on (pixel - mean) / std."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.memory_format = torch.channels_last
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        result: Tensor = self.network(pixels.contiguous(memory_format=self.memory_format))
        return result
