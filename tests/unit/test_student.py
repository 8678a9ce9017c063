"""The student file: everything comes back, and what is no whole student file is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from messages import raises_naming
from networks import NETWORKS, make_student, random_images, randomize
from torch import nn

from efq.runtime.errors import CheckpointError
from efq.runtime.reading import sha256_file
from efq.toolchain.graph.description import build_graph, describe_graph
from efq.toolchain.student import is_student, load_student, save_student

IMAGES = random_images(4, seed=2)


@pytest.mark.parametrize("activation", ["relu", "leaky", "prelu"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_student_comes_back(name: str, activation: str, tmp_path: Path) -> None:
    student = make_student(randomize(NETWORKS[name]()), activation=activation, weight_bits=5)
    save_student(student, tmp_path / "student.pt")
    loaded = load_student(tmp_path / "student.pt")
    with torch.no_grad():
        assert torch.equal(loaded.network(IMAGES), student.network(IMAGES))
    own = sha256_file(tmp_path / "student.pt", expected="a student")
    assert loaded.lineage == dataclasses.replace(student.lineage, student_sha256=own)
    plain = [field.name for field in dataclasses.fields(student) if field.name not in ("network", "lineage")]
    assert {key: getattr(loaded, key) for key in plain} == {key: getattr(student, key) for key in plain}
    flags = [
        {key: value.requires_grad for key, value in graph.named_parameters()}
        for graph in (loaded.network, student.network)
    ]
    assert flags[0] == flags[1]
    assert not loaded.network.training


def test_loads_without_running_code(tmp_path: Path) -> None:
    student = make_student(randomize(NETWORKS["bottleneck"]()))
    save_student(student, tmp_path / "student.pt")
    content = torch.load(tmp_path / "student.pt", weights_only=True)
    assert is_student(content)
    assert content["schema_version"] == 1
    assert not is_student(student.network.state_dict())


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2, 1, dilation=2),
        nn.MaxPool2d((2, 3), (1, 2), (1, 1)),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    ],
    ids=str,
)
def test_pools_keep_their_options(pool: nn.Module) -> None:
    network = randomize(
        nn.Sequential(nn.Conv2d(3, 4, 3, 4), pool, nn.Conv2d(4, 16, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )
    student = make_student(network)
    built = build_graph(describe_graph(student.network))
    built.load_state_dict(student.network.state_dict())
    with torch.no_grad():
        assert torch.equal(built.eval()(IMAGES), student.network(IMAGES))


def test_a_rebuilt_graph_lists_its_parameters_in_one_order() -> None:
    """An optimizer's state goes by the order of parameters: a resumed run builds the graph anew."""
    student = make_student(randomize(NETWORKS["bottleneck"]()), activation="prelu")
    once = build_graph(describe_graph(student.network))
    twice = build_graph(describe_graph(once))
    assert [name for name, _ in once.named_parameters()] == [name for name, _ in twice.named_parameters()]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student") / "student.pt"
    save_student(make_student(randomize(NETWORKS["convolution-head"]())), path)
    return path


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 0.999])
def test_truncated(saved: Path, share: float, tmp_path: Path) -> None:
    data = saved.read_bytes()
    (tmp_path / "student.pt").write_bytes(data[: int(len(data) * share)])
    with raises_naming(CheckpointError, tmp_path / "student.pt"):
        load_student(tmp_path / "student.pt")


@pytest.mark.parametrize(
    ("changes", "error", "facts"),
    [
        ({"format": "other"}, CheckpointError, ("student.pt", "efq-distill")),
        ({"schema_version": 2}, CheckpointError, ("student.pt", "schema", 2, 1)),
        ({"schema_version": None}, CheckpointError, ("student.pt", "schema", None, 1)),
        ({"contract": {"height": 112}}, CheckpointError, ("student.pt", "contract", "height", "width")),
        ({"weights": {}}, CheckpointError, ("student.pt", "weights", "efq-distill")),
        ({"graph": []}, CheckpointError, ("student.pt", "graph", "efq-distill")),
        ({"graph": [{"name": "x", "inputs": [], "kind": "Lambda"}]}, CheckpointError, ("student.pt", "efq-distill")),
        (
            {"graph": [{"name": "x", "inputs": ["y"], "kind": "output"}]},
            CheckpointError,
            ("student.pt", "graph", "efq-distill"),
        ),
        ({"training_hashes": None}, CheckpointError, ("student.pt", "efq-distill")),
        ({"notes": None}, CheckpointError, ("student.pt", "efq-distill")),
    ],
)
def test_wrong_content(
    saved: Path, changes: dict[str, Any], error: type[Exception], facts: tuple[object, ...], tmp_path: Path
) -> None:
    torch.save(torch.load(saved, weights_only=True) | changes, tmp_path / "student.pt")
    with raises_naming(error, *facts):
        load_student(tmp_path / "student.pt")


@pytest.mark.parametrize("key", ["graph", "weights", "recipe", "teacher", "data", "training_hashes"])
def test_missing_fields(saved: Path, key: str, tmp_path: Path) -> None:
    content = torch.load(saved, weights_only=True)
    del content[key]
    torch.save(content, tmp_path / "student.pt")
    with raises_naming(CheckpointError, tmp_path / "student.pt", key, "efq-distill"):
        load_student(tmp_path / "student.pt")


def test_a_float_checkpoint_is_no_student(tmp_path: Path) -> None:
    torch.save(NETWORKS["bottleneck"]().state_dict(), tmp_path / "teacher.pt")
    with raises_naming(CheckpointError, tmp_path / "teacher.pt", "bn.bias", "efq-distill"):
        load_student(tmp_path / "teacher.pt")
