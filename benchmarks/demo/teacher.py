"""A small float teacher, trained on drawn faces in about a minute."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from efq.runtime.files import atomic_write_bytes
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.backbones.networks.mobilefacenet import Bottleneck, ConvBlock
from efq.toolchain.data.faces import FaceSet
from efq.toolchain.data.sampler import IdentityBalancedSampler

BACKBONE = "efq.benchmarks.demo.teacher:demo_network"
EMBEDDING_SIZE = 128


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TeacherSettings:
    """CosFace (Wang et al. 2018, arXiv 1801.09414): its scale and margin; AdamW with a one-cycle rate."""

    steps: int = 450
    identities_per_batch: int = 16
    images_per_identity: int = 2
    scale: float = 24.0
    margin: float = 0.25
    learning_rate: float = 1e-2
    weight_decay: float = 0.05


def demo_network() -> nn.Module:
    """A narrow, shallow MobileFaceNet: BatchNorm and PReLU everywhere, bottlenecks with and without identity branch.

    float32 (N, 3, 112, 112) normalized RGB -> (N, 128) raw embeddings. A twentieth of MobileFaceNet's work, most of it
    saved by reaching 28x28 in two convolutions.
    """
    return nn.Sequential(
        ConvBlock(3, 8, 3, 2),
        ConvBlock(8, 24, 3, 2),
        Bottleneck(24, 24, 48, residual=True),
        Bottleneck(24, 48, 96, stride=2),
        Bottleneck(48, 48, 96, residual=True),
        Bottleneck(48, 48, 96, residual=True),
        Bottleneck(48, 64, 192, stride=2),
        Bottleneck(64, 64, 128, residual=True),
        ConvBlock(64, 256, 1),
        ConvBlock(256, 256, 7, groups=256, linear=True),
        nn.Flatten(),
        nn.Linear(256, EMBEDDING_SIZE, bias=False),
        nn.BatchNorm1d(EMBEDDING_SIZE),
    )


def train_teacher(
    faces: FaceSet, path: Path, settings: TeacherSettings, *, seed: int, progress: ShowProgress = no_progress
) -> list[float]:
    """Train `demo_network` to tell the identities of `faces` apart and save its state dict. Returns the losses."""
    torch.manual_seed(seed)
    network = demo_network().train()
    classes = nn.Parameter(functional.normalize(torch.randn(len(faces.identities), EMBEDDING_SIZE)))
    parameters = [*network.parameters(), classes]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.steps, pct_start=0.15)
    sampler = IdentityBalancedSampler(
        faces.labels,
        identities_per_batch=settings.identities_per_batch,
        images_per_identity=settings.images_per_identity,
        seed=seed,
    )
    generator = np.random.default_rng(seed)
    losses = []
    with progress("teacher", settings.steps, "steps") as bar:
        for step in range(settings.steps):
            chosen = sampler.batch(step)
            labels = torch.from_numpy(faces.labels[chosen])
            embeddings = network(_to_input(faces.images[chosen], generator))
            loss = cosface_loss(embeddings, classes, labels, scale=settings.scale, margin=settings.margin)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            bar.advance(loss=float(np.mean(losses[-20:])))
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    atomic_write_bytes(path, buffer.getvalue())
    return losses


def cosface_loss(embeddings: Tensor, classes: Tensor, labels: Tensor, *, scale: float, margin: float) -> Tensor:
    """Cross entropy of scale * (cosine - margin at the true class); embeddings (N, d), classes (C, d), labels (N,)."""
    cosine = functional.normalize(embeddings) @ functional.normalize(classes).T
    return functional.cross_entropy(scale * (cosine - margin * functional.one_hot(labels, len(classes))), labels)


def _to_input(images: NDArray[np.uint8], generator: np.random.Generator) -> Tensor:
    """Normalized images, some of them mirrored: uint8 (N, H, W, 3) to float32 (N, 3, H, W)."""
    mirrored = generator.uniform(size=len(images)) < 0.5
    images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127.5) / 127.5  # channels last, as decoded
