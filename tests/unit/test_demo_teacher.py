"""The demo's teacher: its loss by hand, and that training writes a checkpoint that EFQ can load."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from efq.benchmarks.demo.teacher import BACKBONE, EMBEDDING_SIZE, TeacherSettings, cosface_loss, train_teacher
from efq.toolchain.backbones import load_backbone
from efq.toolchain.data import FaceSet


def faces(people: int, each: int) -> FaceSet:
    images = np.random.default_rng(0).integers(0, 256, (people * each, 112, 112, 3), np.uint8)
    labels = np.repeat(np.arange(people), each)
    return FaceSet(
        source="drawn",
        paths=tuple(f"{label}/{place}.png" for place, label in enumerate(labels)),
        labels=labels,
        identities=tuple(str(label) for label in range(people)),
        hashes=tuple(f"{place:064x}" for place in range(len(labels))),
        pixel_hashes=tuple(f"{place:064x}" for place in range(len(labels))),
        unreadable=(),
        images=images,
    )


def test_cosface_loss_of_a_hand_worked_case() -> None:
    """Cosines 1 and 0 to two classes: the true class counts 1 - margin."""
    loss = cosface_loss(
        torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 5.0]]), torch.tensor([0]), scale=4.0, margin=0.25
    )
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-4.0 * 0.75)), rel=1e-6)


def test_training_writes_a_checkpoint_that_loads(tmp_path: Path) -> None:
    settings = TeacherSettings(steps=2, identities_per_batch=4, images_per_identity=2)
    losses = train_teacher(faces(4, 2), tmp_path / "teacher.pt", settings, seed=0)
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    _, network = load_backbone(tmp_path / "teacher.pt", BACKBONE)
    assert network(torch.zeros(1, 3, 112, 112)).shape == (1, EMBEDDING_SIZE)
    kinds = {type(module).__name__ for module in network.modules()}
    assert {"PReLU", "BatchNorm2d", "BatchNorm1d"} <= kinds
