"""As fuzz_networks.py, fuzz_graphs.py and fuzz_checkpoints.py do with many more."""

from __future__ import annotations

import os
import random
from pathlib import Path

import fuzz_checkpoints
import fuzz_graphs
import fuzz_networks
import pytest
import torch
from counting import MARK
from networks import make_student, random_images, randomize, teacher_network
from torch import Tensor, nn

from efq.export import export_student
from efq.runtime import Embedder


@pytest.mark.parametrize("seed", range(4))
def test_what_is_traced_is_exported_or_refused_in_words(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path))
    for number in range(8):
        draw = random.Random(f"{seed}/{number}")
        torch.manual_seed(number)
        fuzz_networks.outcome(fuzz_networks.drawn_network(draw), draw, tmp_path)


def test_graphs_of_all_operations_are_lowered_exported_and_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path))
    for number in range(8):
        draw = random.Random(f"0/{number}")
        torch.manual_seed(number)
        found = fuzz_graphs.outcome(fuzz_graphs.drawn_graph(draw), draw, tmp_path)
        assert "refused by the export" not in found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(2))
def test_damaged_checkpoints_end_in_words(seed: int, tmp_path: Path) -> None:
    weights = dict(randomize(teacher_network()).state_dict())
    for number in range(40):
        draw = random.Random(f"{seed}/{number}")
        try:
            (tmp_path / "teacher.pt").write_bytes(fuzz_checkpoints.file_of(weights, draw))
        except (RuntimeError, TypeError, NotImplementedError, IndexError):
            continue  # torch writes no such file
        fuzz_checkpoints.outcome(tmp_path / "teacher.pt")
    assert os.environ.pop(MARK, None) is None


def test_a_padded_convolution_of_one_pixel(tmp_path: Path) -> None:
    """Found so: its least squares left the padding out."""
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.PReLU(8), nn.Conv2d(8, 8, 1, padding=1), nn.Flatten(), nn.Linear(2048, 8)]
    student = make_student(randomize(nn.Sequential(*layers), slopes=(0.2,)), activation="relu")
    export_student(student, "ort-cpu", tmp_path / "artifact", bits=8)
    with Embedder.open(tmp_path / "artifact", backend="onnxruntime") as embedder:
        assert embedder.embed(random_images(3).numpy()).shape == (3, 8)


@pytest.mark.parametrize("target", ["ort-cpu", "openvino"])
def test_a_sum_of_maps_and_their_means(target: str, tmp_path: Path) -> None:
    """Found so: written, and refused as no graph of EFQ's. The export compares it with the integer student."""

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.conv, self.fc = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), nn.Linear(392, 16)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.conv(self.stem(images).relu())
            embeddings: Tensor = self.fc((maps + maps.mean((2, 3), keepdim=True)).flatten(1))
            return embeddings

    pytest.importorskip("openvino" if target == "openvino" else "onnxruntime")
    result = export_student(make_student(randomize(Sum())), target, tmp_path / "artifact", bits=8)
    assert result.coverage is not None
    assert result.coverage.multiply_adds.fraction == 1
    with Embedder.open(tmp_path / "artifact", device="cpu") as embedder:
        assert embedder.embed(random_images(3).numpy()).shape == (3, 16)
