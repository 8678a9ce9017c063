"""A float network together with its normalization: uint8 faces in, embeddings out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import CheckpointError
from efq.runtime.files import sha256_file
from efq.toolchain.backbones import Backbone, load_backbone


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

    Raises CheckpointError when it cannot be read, fits no backbone, or gives no embedding for a face.
    """
    found, network = load_backbone(path, backbone)
    network.requires_grad_(False)
    contract = InputContract()
    return Teacher(
        backbone=found,
        network=network,
        normalized=_in_a_layout_that_runs(NormalizedNetwork(network, found.mean, found.std).eval(), found, contract),
        contract=contract,
        path=path,
        sha256=sha256_file(path),
    )


@torch.no_grad()
def _in_a_layout_that_runs(
    normalized: NormalizedNetwork, backbone: Backbone, contract: InputContract
) -> NormalizedNetwork:
    """Channels last, which is faster, unless the network views its tensors in a way that needs them contiguous."""
    reason = ""
    for memory_format in (torch.channels_last, torch.contiguous_format):
        normalized.memory_format = memory_format
        normalized = normalized.to(memory_format=memory_format)  # type: ignore[call-overload]
        try:
            found = normalized(torch.zeros(1, contract.height, contract.width, 3, dtype=torch.uint8))
        except (RuntimeError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            continue
        if isinstance(found, Tensor) and found.dim() == 2:
            return normalized
        reason = f"found {tuple(found.shape)}" if isinstance(found, Tensor) else f"found {type(found).__name__}"
    message = (
        f"expected {backbone.name} to give one embedding, (1, d), for one image of "
        f"{contract.height}x{contract.width}: {reason}"
    )
    raise CheckpointError(message)
