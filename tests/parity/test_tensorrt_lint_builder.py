"""What TensorRT-RTX's builder does with every pattern, beside what the lint says of it.

Needs the package tensorrt-rtx, no GPU. The builder runs in other processes: some patterns crash it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from tensorrt_patterns import PATTERNS, Pattern

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("tensorrt_rtx") is None, reason="needs TensorRT-RTX: pip install 'efq[trt-rtx]'"
    ),
]
BUILDER = Path(__file__).with_name("tensorrt_builder.py")
BY_NAME = {pattern.name: pattern for pattern in PATTERNS}
CRASHES = [pattern.name for pattern in PATTERNS if pattern.verdict == "crash"]
GPU = "8.6"


def run_builder(folder: Path, patterns: list[Pattern]) -> tuple[int, dict[str, Any]]:
    """The builder's exit status and its answers by name."""
    for pattern in patterns:
        model = pattern.build()
        capabilities = " ".join(pattern.capabilities or (GPU,)).replace(".", "")
        onnx.helper.set_model_props(model, {"capabilities": capabilities})
        (folder / f"{pattern.name}.onnx").write_bytes(model.SerializeToString())
    command = [sys.executable, str(BUILDER), str(folder)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    answers = [json.loads(line) for line in process.stdout.splitlines() if line.startswith('{"name"')]
    return process.returncode, {answer["name"]: answer for answer in answers}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    patterns = [pattern for pattern in PATTERNS if pattern.verdict != "crash"]
    status, found = run_builder(tmp_path_factory.mktemp("patterns"), patterns)
    assert status == 0
    return found


@pytest.mark.parametrize("name", [pattern.name for pattern in PATTERNS if pattern.verdict != "crash"])
def test_builder_does_what_the_lint_says(name: str, answers: dict[str, Any]) -> None:
    pattern, answer = BY_NAME[name], answers[name]
    kernels: dict[str, list[str]] = answer["kernels"]
    if pattern.verdict == "refused":
        assert not answer["built"]
        assert any(pattern.text in error for error in answer["errors"]), answer["errors"]
        return
    assert answer["built"], answer["errors"]
    if pattern.verdict == "float":
        assert not runs_in_int8(kernels[pattern.operator]), kernels
        return
    products = [node for node in pattern.build().graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert products
    assert all(runs_in_int8(kernels[node.name]) for node in products), kernels


@pytest.mark.parametrize("name", CRASHES)
def test_builder_crashes(name: str, tmp_path: Path) -> None:
    status, found = run_builder(tmp_path, [BY_NAME[name]])
    assert status < 0, "the builder no longer crashes: the rule's docstring and severity are out of date"
    assert not found


def runs_in_int8(kernel: list[str]) -> bool:
    """Whether a kernel multiplies int8 data and int8 weights: its first two tensors, inputs or constants."""
    kind, *types = kernel
    return kind in ("correlation", "gemm") and types[:2] == ["int8", "int8"]
