"""One network in each file format, in every command that takes a teacher."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from messages import names
from networks import make_pattern_teacher, make_student, randomize, teacher_network, write_faces
from onnx_graphs import model, node

from efq.benchmarks.bench_command import main as bench
from efq.export.export_command import main as export
from efq.export.inspect_command import main as inspect
from efq.toolchain.distill_command import main as distill
from efq.toolchain.evaluate_command import main as evaluate
from efq.toolchain.student import save_student

NETWORK = "networks:pattern_network"
PEOPLE = 40


def training_state(weights: dict[str, torch.Tensor], path: Path) -> Path:
    """Zeros as the raw weights, what was trained behind a prefix as their average, a head beside them."""
    zeros = {name: torch.zeros_like(value) for name, value in weights.items()}
    average = {f"module.{name}": value for name, value in weights.items()}
    torch.save({"model": zeros, "ema": average, "criterion": {"weight": torch.ones(9, 64)}, "when": path}, path)
    return path


def safetensors(weights: dict[str, torch.Tensor], path: Path) -> Path:
    header: dict[str, Any] = {}
    data = b""
    for name, value in weights.items():
        raw = value.numpy().tobytes()
        header[f"backbone.{name}"] = {
            "dtype": "F32",
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def onnx_file(weights: dict[str, torch.Tensor], path: Path) -> Path:
    nodes = [
        node("Conv", ["x", "0.weight", "0.bias"], "a", strides=[16, 16]),
        node("Clip", ["a", "low", "high"], "b"),
        node("Flatten", ["b"], "c", axis=1),
        node("Gemm", ["c", "3.weight", "3.bias"], "y", transB=1),
    ]
    arrays = {name: value.numpy() for name, value in weights.items()} | {"low": np.float32(0), "high": np.float32(6)}
    path.write_bytes(model(nodes, arrays, shape=("N", 3, 112, 112)).SerializeToString())
    return path


NAMED = ("--backbone", NETWORK)
FORMATS: dict[str, tuple[Callable[[dict[str, torch.Tensor], Path], Path], str, tuple[str, ...], tuple[str, ...]]] = {
    "checkpoint": (training_state, "last.ckpt", NAMED, ("ema.module", "@model", "criterion.weight")),
    "safetensors": (safetensors, "model.safetensors", NAMED, ("safetensors", "backbone")),
    "ONNX": (onnx_file, "model.onnx", ("--teacher-input", "rgb,-1..1"), ("rgb",)),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of `FORMATS`, and faces/."""
    root = tmp_path_factory.mktemp("formats")
    make_pattern_teacher(root / "bare.pt", lambda images: (images - 127.5) / 127.5)
    weights = torch.load(root / "bare.pt", weights_only=True)
    for write, name, _, _ in FORMATS.values():
        write(weights, root / name)
    write_faces(root / "faces", people=PEOPLE, each=2)
    return root


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(command: click.Command, *arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("kind", FORMATS)
def test_every_command(kind: str, inputs: Path, tmp_path: Path) -> None:
    _, name, named, facts = FORMATS[kind]
    teacher, faces = inputs / name, ("--faces", inputs / "faces")
    found = json.loads(run(inspect, teacher, *named, "--json").stdout)
    assert (found["format"], found["embedding_size"], found["input"]) == (
        "ONNX" if kind == "ONNX" else "torch checkpoint",
        64,
        "rgb,-1..1",
    )
    assert found["parameters"] == 3 * 16 * 16 * 24 + 24 + 24 * 49 * 64 + 64
    assert found["integer_form"] == "yes"
    assert found["operations"]["QuantizedConv2d"] == found["operations"]["QuantizedLinear"] == 1
    names(run(inspect, teacher, *named).stdout, *facts, "integer_form")
    evaluated = json.loads(run(evaluate, teacher, *named, *faces, "--json").stdout)
    bare = json.loads(run(evaluate, inputs / "bare.pt", *NAMED, *faces, "--json").stdout)
    assert evaluated["all_pairs"] == bare["all_pairs"]
    quick = ("--steps", 0, "--threads", 1, "-o", tmp_path / "student.pt")
    names(run(distill, teacher, *named, *faces, *quick).stderr, *facts)
    if kind == "safetensors":
        return  # what follows opens it as it opens a checkpoint
    run(export, teacher, *named, "--calibrate", inputs / "faces", "-o", tmp_path / "artifact")
    if kind == "checkpoint":
        timed = ("--rounds", 2, "--seconds", 0.01, "-o", tmp_path / "report", "--json")
        assert json.loads(run(bench, tmp_path / "artifact", "--teacher", teacher, *named, *timed).stdout)


def test_what_has_no_integer_form_is_described_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    torch.save(odd_network().state_dict(), path)
    found = json.loads(run(inspect, path, "--backbone", f"{__name__}:odd_network", "--json").stdout)
    assert found["integer_form"].startswith("no: ")
    assert "cumsum" in found["integer_form"]


class Sums(torch.nn.Module):
    """Sums over the channels before each."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.cumsum(1)


def odd_network() -> torch.nn.Module:
    layers = torch.nn.Conv2d(3, 8, 16, 16), Sums(), torch.nn.Flatten(), torch.nn.Linear(8 * 49, 4)
    return torch.nn.Sequential(*layers)


def test_options_of_a_teacher_beside_a_student(tmp_path: Path) -> None:
    save_student(make_student(randomize(teacher_network()), size=112), tmp_path / "student.pt")
    result = CliRunner().invoke(inspect, [str(tmp_path / "student.pt"), "--backbone", NETWORK])
    assert (result.exit_code, result.stdout) == (2, "")
    names(result.stderr, "--backbone")
