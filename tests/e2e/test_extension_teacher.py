"""Another package's teacher format: installed, it is distilled and evaluated like EFQ's own."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from extensions import install
from networks import write_faces

from efq.toolchain.student import load_student

CODE = """
import numpy as np
import torch
from torch import nn

from efq.toolchain.teachers import Normalization, Teacher


def tiny_network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8),
        nn.Conv2d(8, 12, 3, 2, 1), nn.PReLU(12),
        nn.Conv2d(12, 12, 7, groups=12), nn.Flatten(), nn.Linear(12, 16),
    )


class Arrays:
    name = "toy"

    def recognizes(self, path):
        if path.suffix != ".npz":
            return False
        with np.load(path, allow_pickle=False) as arrays:
            return "toy_format" in arrays

    def open(self, path, backbone):
        network = tiny_network()
        with np.load(path, allow_pickle=False) as arrays:
            network.load_state_dict({key: torch.from_numpy(arrays[key]) for key in network.state_dict()})
        normalization = Normalization(mean=(120.0, 110.0, 100.0), std=(60.0, 58.0, 59.0))
        return Teacher.of_network(network, name="toy", normalization=normalization, path=path, licence="CC0")


FORMAT = Arrays()
"""
RECIPE = 'activation = "relu"\nidentities_per_batch = 4\ncalibration_images = 16\nfitting_images = 16\n'


def run(environment: dict[str, str], command: str, *arguments: object) -> str:
    """What a command, with the package installed, prints on stdout."""
    words = [Path(sys.executable).with_name(command), *map(str, arguments)]
    result = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_teacher_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, teacher, student = tmp_path / "site", tmp_path / "toy.npz", tmp_path / "student.pt"
    points = {"efq.teachers": {"toy": "toy_teacher:FORMAT"}}
    environment = install(site, name="toy_teacher", code=CODE, entry_points=points) | {"OMP_NUM_THREADS": "1"}
    monkeypatch.syspath_prepend(site)
    weights = importlib.import_module("toy_teacher").tiny_network().state_dict()
    np.savez(teacher, toy_format=1, **{key: value.numpy() for key, value in weights.items()})
    (tmp_path / "tiny.toml").write_text(RECIPE)
    faces = write_faces(tmp_path / "faces")
    options = ("--faces", faces, "--recipe", tmp_path / "tiny.toml", "--steps", 1, "--threads", 1)
    run(environment, "efq-distill", teacher, *options, "-o", student)
    made = load_student(student)
    assert (made.teacher["name"], made.teacher["licence"], made.embedding_size) == ("toy", "CC0-1.0", 16)
    options = ("--faces", faces, "--allow-training-images", "--bootstrap", 0, "--json")
    report = json.loads(run(environment, "efq-evaluate", teacher, "--reference", student, *options))
    assert (report["model"]["kind"], report["model"]["name"]) == ("teacher", "toy")
    assert (report["reference"]["kind"], report["images"]) == ("student", 24)
    assert np.isfinite(report["agreement"]["cosine_mean"])
