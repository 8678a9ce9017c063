"""Students from strangers: no name of a file becomes code, and what does not fit ends in words."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import raises_naming
from networks import NETWORKS, make_student, random_images, randomize

from efq.runtime.errors import CheckpointError
from efq.toolchain.student import load_student, save_student

MARK = "EFQ_RAN_CODE"
CODE = f"__import__('os').environ.__setitem__('{MARK}', '1')"
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


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([CODE, "forward", "__class__", "a.b", "", "Lambda", "Add", "Flatten", "output", "placeholder"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def mutated(value: Any, draw: Any) -> Any:
    """`value` with one thing in it replaced, removed, doubled or swapped."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 9)) == 0:
            return {name: item for name, item in value.items() if name != key}
        return value | {key: mutated(value[key], draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(value) - 1))
        action = draw(st.sampled_from(("change", "change", "remove", "double", "swap")))
        if action == "change":
            return [*value[:place], mutated(value[place], draw), *value[place + 1 :]]
        if action == "remove":
            return value[:place] + value[place + 1 :]
        if action == "double":
            return [*value[: place + 1], *value[place:]]
        other = draw(st.integers(0, len(value) - 1))
        swapped = list(value)
        swapped[place], swapped[other] = swapped[other], swapped[place]
        return swapped
    return draw(VALUES)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_end_in_a_checkpoint_error_or_run(
    content: dict[str, Any], tmp_path: Path, data: st.DataObject
) -> None:
    """Whatever loads also runs, or says so when it is run: a graph may hold shapes that do not go together."""
    found = mutated(content, data.draw)
    if not isinstance(found, dict) or found.get("format") != content["format"]:
        return
    try:
        load(found, tmp_path)
    except (CheckpointError, RuntimeError):
        return
