"""The network of tests/artifacts.py as a torch checkpoint, the teacher of its artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from artifacts import EMBEDDING_SIZE, PATCH, make_artifact, make_manifest, weights
from torch import nn

from efq.runtime.reading import sha256_file

BACKBONE = "tiny_teacher:tiny_network"


def tiny_network() -> nn.Module:
    """The network of tests/artifacts.py in torch."""
    linear = nn.Linear(8 * (112 // PATCH) ** 2, EMBEDDING_SIZE, bias=False)
    return nn.Sequential(nn.Conv2d(3, 8, PATCH, PATCH, bias=False), nn.Flatten(), linear)


tiny_network.input_mean = (0.0, 0.0, 0.0)  # type: ignore[attr-defined]
tiny_network.input_std = (255.0, 255.0, 255.0)  # type: ignore[attr-defined]


def write_checkpoint(path: Path, *, noise: float = 0.0) -> Path:
    """Its weights, with noise on the linear layer where the artifact is to cost something."""
    network = tiny_network()
    convolution, linear = weights()
    if noise:
        linear = linear + np.random.default_rng(1).normal(0, noise, linear.shape).astype(np.float32)
    network.load_state_dict({"0.weight": torch.from_numpy(convolution), "2.weight": torch.from_numpy(linear.T)})
    torch.save(network.state_dict(), path)
    return path


def artifact_of(folder: Path, checkpoint: Path) -> Path:
    """An artifact that says that it was made from `checkpoint`."""
    teacher = {"name": "tiny", "sha256": sha256_file(checkpoint, expected="a file"), "licence": "Apache-2.0"}
    return make_artifact(folder, manifest=make_manifest(teacher=teacher, coverage={}), training_data=True)
