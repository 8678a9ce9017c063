"""A float network together with its normalization: uint8 faces in, embeddings out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from efq.runtime.contract import InputContract
from efq.runtime.files import sha256_file
from efq.toolchain.backbones import Backbone, load_backbone


class NormalizedNetwork(nn.Module):
    """uint8 (N, H, W, 3) RGB -> float32 (N, d) raw embeddings of `network` on (pixel - mean) / std."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.network((images.permute(0, 3, 1, 2).float() - self.mean) / self.std)
        return result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A float checkpoint: its backbone, the bare network, and the network with its normalization."""

    backbone: Backbone
    network: nn.Module
    normalized: NormalizedNetwork
    contract: InputContract
    path: Path
    sha256: str


def load_teacher(path: Path, backbone: str | None = None) -> Teacher:
    """Load `path` as the named backbone, or as the registered one that fits; eval mode, gradients off.

    Raises CheckpointError when it cannot be read or fits no backbone.
    """
    found, network = load_backbone(path, backbone)
    network.requires_grad_(False)
    normalized = NormalizedNetwork(network, found.mean, found.std).eval()
    normalized.to(memory_format=torch.channels_last)
    return Teacher(
        backbone=found,
        network=network,
        normalized=normalized,
        contract=InputContract(),
        path=path,
        sha256=sha256_file(path),
    )
