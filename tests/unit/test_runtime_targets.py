"""The table of targets: its own rows, and those of other packages, which may be broken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from artifacts import make_artifact
from extensions import install
from messages import names, raises_naming

from efq.runtime import UsageError
from efq.runtime.backends.open import BACKENDS
from efq.runtime.targets import find_target, targets

GOOD = """
import dataclasses
from efq.runtime.targets import find_target
TARGET = dataclasses.replace(find_target("ort-cpu"), name="toy")
SAME_NAME = dataclasses.replace(TARGET, name="openvino", devices=("toy",))
NO_TARGET = {"name": "toy"}
"""
LIST = """
import json, logging, sys
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
from efq.runtime import Embedder
from efq.runtime.targets import find_target, targets
print(json.dumps({name: target.devices for name, target in targets().items()}))
Embedder.open(sys.argv[1], threads=1, backend="onnxruntime")
"""


def test_every_row_is_whole() -> None:
    assert list(targets())[:5] == ["ort-cpu", "openvino", "litert", "trt", "trt-rtx"]
    for name, target in targets().items():
        assert find_target(name) is target
        assert target.name == name
        assert set(target.devices) <= {"cpu", "cuda"}
        assert set(target.backends) <= set(BACKENDS)
        assert target.exporter.startswith("efq.export.targets.")


def test_a_name_that_is_not_there_names_those_that_are() -> None:
    with raises_naming(UsageError, "npu", *targets()):
        find_target("npu")


def listed(folder: Path, artifact: Path, points: Mapping[str, str], code: str = GOOD) -> tuple[dict[str, Any], str]:
    """The targets of a process that has the package, and its log; an artifact of EFQ's own target opens there."""
    environment = install(folder, name="efq_toy", code=code, entry_points={"efq.targets": points})
    command = [sys.executable, "-c", LIST, str(artifact)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(result.stdout)
    return found, result.stderr


def test_another_package_adds_a_target(tmp_path: Path, tiny_artifact: Path) -> None:
    found, log = listed(tmp_path, tiny_artifact, {"toy": "efq_toy:TARGET"})
    assert list(found) == [*targets(), "toy"]
    assert log == ""


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("efq_toy:TARGET", "raise RuntimeError('its library does not load')"),
        ("efq_toy:MISSING", GOOD),
        ("efq_toy:NO_TARGET", GOOD),
        ("efq_toy:SAME_NAME", GOOD),
    ],
)
def test_one_that_is_broken_is_named_and_left_out(tmp_path: Path, tiny_artifact: Path, value: str, code: str) -> None:
    found, log = listed(tmp_path, tiny_artifact, {"toy": value}, code)
    assert found == {name: list(target.devices) for name, target in targets().items()}
    assert value in log


def test_a_target_has_the_name_of_its_entry_point(tmp_path: Path) -> None:
    points = {"toy": "efq_toy:TARGET", "other": "efq_toy:TARGET"}
    found, log = listed(tmp_path, make_artifact(tmp_path / "artifact"), points)
    assert list(found) == [*targets(), "toy"]
    names(log, "other", "toy")
