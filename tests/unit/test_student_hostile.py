"""Students from strangers: no name of a file becomes code, and what does not fit ends in words."""

from __future__ import annotations

import copy
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from counting import MARK
from fuzz_students import CODE, mutated_file, outcome
from messages import raises_naming
from networks import NETWORKS, make_student, random_images, randomize

from efq.runtime.errors import CheckpointError
from efq.toolchain.student import load_student, save_student

IMAGES = random_images(2)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("student") / "student.pt"
    save_student(make_student(randomize(NETWORKS["convolution-head"]())), path)
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def load(content: dict[str, Any], folder: Path) -> None:
    """Load a student of that content and, where that succeeds, run it."""
    path = folder / "student.pt"
    torch.save(content, path)
    os.environ.pop(MARK, None)
    try:
        student = load_student(path)
        size = (1, student.contract.height, student.contract.width, 3)
        student.network(torch.zeros(size, dtype=torch.uint8))
    finally:
        assert os.environ.pop(MARK, None) is None


def changed(content: dict[str, Any], place: int, **changes: Any) -> dict[str, Any]:
    graph = copy.deepcopy(content["graph"])
    graph[place] |= changes
    return content | {"graph": graph}


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        (0, {"name": f"images={CODE}"}),
        (0, {"name": f"images, x={CODE}"}),
        (0, {"name": "lambda"}),
        (1, {"layer": f"a');{CODE};('"}),
        (1, {"layer": f'a");{CODE};("'}),
        (1, {"layer": f"a\n    {CODE}"}),
        (1, {"layer": "__class__.__init__"}),
        (1, {"layer": "class"}),
        (1, {"layer": "forward"}),
        (1, {"layer": "stem.__dict__"}),
        (2, {"name": f"x\n    {CODE}"}),
        (2, {"kind": "__import__"}),
        (2, {"kind": "Module"}),
        (-1, {"name": f"output={CODE}"}),
    ],
    ids=str,
)
def test_a_name_never_becomes_code(
    content: dict[str, Any], place: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    with raises_naming(CheckpointError, tmp_path / "student.pt"):
        load(changed(content, place, **changes), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"in_channels": 1 << 30},
        {"out_channels": 1 << 19, "in_channels": 1 << 19},  # 2 TB of weights, if they were made
        {"kernel_size": [1 << 20, 1 << 20]},
        {"stride": 0},
        {"stride": [1, 0]},
        {"groups": True},
        {"padding": "same"},
        {"weight_bits": 1},
        {"weight_bits": 8.0},
        {"other": 1},
    ],
    ids=str,
)
def test_arguments_out_of_range(content: dict[str, Any], changes: dict[str, Any], tmp_path: Path) -> None:
    place = next(place for place, entry in enumerate(content["graph"]) if entry["kind"] == "QuantizedConv2d")
    arguments = content["graph"][place]["arguments"] | changes
    with raises_naming(CheckpointError, tmp_path / "student.pt"):
        load(changed(content, place, arguments=arguments), tmp_path)


@pytest.mark.parametrize(
    "weight",
    [
        torch.tensor(float("nan")),
        torch.tensor(float("inf")),
        torch.tensor(200.0),  # of a logarithm: a scale beyond float32
        torch.tensor(-200.0),  # a scale of 0
        torch.tensor(0, dtype=torch.int64),
        torch.zeros((), dtype=torch.float16),
        torch.zeros(3).to_sparse(),
        "text",
        None,
    ],
    ids=lambda value: str(value)[:30],
)
def test_scales_that_are_none(content: dict[str, Any], weight: Any, tmp_path: Path) -> None:
    name = next(
        name for name in content["weights"] if name.endswith("log_scale") and not content["weights"][name].dim()
    )
    with raises_naming(CheckpointError, tmp_path / "student.pt"):
        load(content | {"weights": content["weights"] | {name: weight}}, tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("teacher", {}),
        ("teacher", {"name": "x", "sha256": "0", "licence": None}),
        ("backbone", "red \x1b[31mtext"),
        ("backbone", "half a character \ud800"),
        ("embedding_size", 17),
        ("embedding_size", True),
        ("data", {"images": -1, "identities": 0, "sha256": "", "licence": ""}),
        ("training", {"steps": 1 << 1100}),
        ("training", {"loss": [0.5]}),
        ("thresholds", {"1e-3": 2.0}),
        ("thresholds", {"1e-3": float("nan")}),
        ("recipe", {"name": "x", "weight_bits": 99}),
        ("recipe", {"name": "x", "keep_8bit": ["\x07"]}),
        ("recipe", []),
        ("contract", {"height": 28}),
        ("notes", "one text"),
        ("training_hashes", torch.zeros(2, 7, dtype=torch.uint8)),
        ("lineage", []),
        ("lineage", {"dataset": "red \x1b[31mtext"}),
        ("lineage", {"student_sha256": "0"}),
        ("lineage", {"colour": "red"}),
        ("schema_version", 2),
    ],
    ids=str,
)
def test_a_field_that_does_not_fit_is_named(content: dict[str, Any], field: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "student.pt").write_bytes(b"")
    with raises_naming(CheckpointError, tmp_path / "student.pt") as caught:
        load(content | {field: value}, tmp_path)
    assert len(str(caught.value)) < 1000
    if field in content and field not in ("recipe", "contract", "schema_version", "lineage"):
        with raises_naming(CheckpointError, field):
            load({key: item for key, item in content.items() if key != field}, tmp_path)


def test_layers_that_do_not_go_together_are_named(content: dict[str, Any], tmp_path: Path) -> None:
    graph = copy.deepcopy(content["graph"])
    swapped = next(place for place, entry in enumerate(graph) if entry["kind"] == "Flatten")
    reader = next(entry for entry in graph if entry["inputs"] == [graph[swapped]["name"]])
    reader["inputs"] = graph[swapped]["inputs"]
    with raises_naming(CheckpointError, tmp_path / "student.pt", reader["layer"]):
        load(content | {"graph": graph}, tmp_path)
    with raises_naming(CheckpointError, "layer"):
        load(content | {"contract": content["contract"] | {"height": 29}}, tmp_path)
    with raises_naming(CheckpointError, "layer"):
        load(content | {"contract": content["contract"] | {"height": 4096, "width": 4096}}, tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_students_end_in_words_whatever_reads_them(seed: int, content: dict[str, Any], tmp_path: Path) -> None:
    """As fuzz_students.py does with many more: loaded, inspected and planned for every target, or refused."""
    path = tmp_path / "student.pt"
    torch.save(content, path)
    data = path.read_bytes()
    for number in range(15):
        draw = random.Random(f"{seed}/{number}")
        path.write_bytes(mutated_file(data, content, draw))
        outcome(path)
    assert os.environ.pop(MARK, None) is None
