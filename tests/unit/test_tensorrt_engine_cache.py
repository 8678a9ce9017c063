"""Build options, fingerprints and the engine folder: what is loaded, what is refused, and what the message says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from messages import raises_naming

from efq.runtime.errors import EngineError, UsageError
from efq.runtime.reading import sha256_file
from efq.runtime.tensorrt.build.builder import LOG_FILE, PLAN_FILE, BuiltEngine
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.engine_cache import (
    FINGERPRINT_FILE,
    fingerprint_of,
    read_engine,
    read_options,
    write_engine,
    write_options,
)
from efq.runtime.tensorrt.fingerprint import EngineMachine, Fingerprint

A10 = EngineMachine(version="10.16.1.11", cuda="13.0", gpu="NVIDIA A10", compute_capability="8.6")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    return path


def store(folder: Path, model: Path, **changes: Any) -> Path:
    """An engine folder as a build for the A10 leaves it; `changes` are those of its fingerprint."""
    source = folder.parent / "built"
    source.mkdir(exist_ok=True)
    (source / PLAN_FILE).write_bytes(b"a plan")
    (source / LOG_FILE).write_text("a log")
    built = BuiltEngine(folder=source, version=A10.version, seconds=1.0, layers=())
    fingerprint = fingerprint_of(built, "trt", model, BuildOptions(), A10)
    write_engine(folder, built, dataclasses.replace(fingerprint, **changes))
    return folder


def test_what_was_built_here_is_loaded(tmp_path: Path, model: Path) -> None:
    folder = store(tmp_path / "engine", model)
    plan, fingerprint = read_engine(folder, model, A10)
    assert plan == b"a plan"
    assert (fingerprint.gpu, fingerprint.compute_capabilities) == ("NVIDIA A10", ("8.6",))
    assert fingerprint.onnx_sha256 == sha256_file(model, expected="a file")
    assert Fingerprint.from_json(fingerprint.to_json()) == fingerprint
    assert read_options(folder) == BuildOptions()
    assert (folder / LOG_FILE).read_text() == "a log"


@pytest.mark.parametrize(
    ("machine", "facts"),
    [
        ({"version": "11.4.0.106"}, ("10.16.1.11", "11.4.0.106")),
        ({"gpu": "NVIDIA L4", "compute_capability": "8.9"}, ("NVIDIA A10", 8.6, "NVIDIA L4", 8.9)),
        ({"gpu": "NVIDIA RTX A4000"}, ("NVIDIA A10", "NVIDIA RTX A4000")),
        ({"cuda": "12.8"}, ("CUDA", "13.0", 12.8)),
    ],
)
def test_another_machine_is_refused(
    tmp_path: Path, model: Path, machine: dict[str, str], facts: tuple[object, ...]
) -> None:
    folder = store(tmp_path / "engine", model)
    with raises_naming(EngineError, folder, *facts, "rebuild=True", "--rebuild"):
        read_engine(folder, model, dataclasses.replace(A10, **machine))


def test_compatible_engines_go_further(tmp_path: Path, model: Path) -> None:
    newer = dataclasses.replace(A10, version="11.4.0.106")
    options = BuildOptions(version_compatible=True)
    folder = store(tmp_path / "engine", model, options=options)
    assert read_engine(folder, model, newer)[1].options == options
    with raises_naming(EngineError, A10.version, "10.3.0"):
        read_engine(folder, model, dataclasses.replace(A10, version="10.3.0"))
    folder = store(tmp_path / "other", model, options=BuildOptions(hardware_compatible=True))
    ada = dataclasses.replace(A10, gpu="NVIDIA L4", compute_capability="8.9")
    assert read_engine(folder, model, ada)[0] == b"a plan"
    with raises_naming(EngineError, "Tesla T4", 7.5):
        read_engine(folder, model, dataclasses.replace(A10, gpu="Tesla T4", compute_capability="7.5"))


def test_engines_built_ahead_of_time_fit_their_capabilities(tmp_path: Path, model: Path) -> None:
    changes = {"target": "trt-rtx", "gpu": None, "cuda": None}
    folder = store(tmp_path / "engine", model, compute_capabilities=("8.9", "12.0"), **changes)
    with raises_naming(EngineError, 8.9, "12.0", "NVIDIA A10", 8.6):
        read_engine(folder, model, A10)
    every = store(tmp_path / "every", model, compute_capabilities=(), **changes)
    assert read_engine(every, model, A10)[0] == b"a plan"


def test_changed_files_are_refused(tmp_path: Path, model: Path) -> None:
    folder = store(tmp_path / "engine", model)
    (folder / PLAN_FILE).write_bytes(b"another plan")
    with raises_naming(EngineError, folder, "fingerprint", "rebuild=True"):
        read_engine(folder, model, A10)
    folder = store(tmp_path / "engine", model)
    before = sha256_file(model, expected="a file")
    model.write_bytes(b"another model")
    with raises_naming(EngineError, folder, before[:12], sha256_file(model, expected="a file")[:12], "rebuild=True"):
        read_engine(folder, model, A10)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"target": 1}', "\x00", '{"options": {}, "compute_capabilities": 3}']
)
def test_a_junk_fingerprint_is_refused(tmp_path: Path, model: Path, text: str) -> None:
    folder = store(tmp_path / "engine", model)
    (folder / FINGERPRINT_FILE).write_text(text)
    with raises_naming(EngineError, "fingerprint"):
        read_engine(folder, model, A10)


def test_no_engine(tmp_path: Path, model: Path) -> None:
    with raises_naming(EngineError, tmp_path / "engine", "rebuild=True"):
        read_engine(tmp_path / "engine", model, A10)
    with raises_naming(EngineError, tmp_path / "options.json"):
        read_options(tmp_path)


def test_options_without_an_engine(tmp_path: Path) -> None:
    options = BuildOptions(batches=(1, 16, 32), compute_capabilities=("8.6", "12.0"), workspace_mib=512, level=4)
    write_options(tmp_path, options)
    assert read_options(tmp_path) == options
    content = json.loads((tmp_path / "options.json").read_text())
    (tmp_path / "options.json").write_text(json.dumps(content | {"refit": True}))
    with raises_naming(EngineError, tmp_path / "options.json", "refit"):
        read_options(tmp_path)


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"batches": (8, 1, 64)}, ("8, 1, 64",)),
        ({"batches": (0, 1, 2)}, ("0, 1, 2",)),
        ({"batches": (1, 2)}, ("batch", "(1, 2)")),
        ({"batches": (1, 2, 3.0)}, ("batch", "(1, 2, 3.0)")),
        ({"compute_capabilities": ("sm86",)}, (8.6, "12.0", "sm86")),
        ({"workspace_mib": 0}, ("workspace", "1 MiB", 0)),
        ({"level": 6}, ("level", 0, 5, 6)),
    ],
)
def test_options_out_of_range(values: dict[str, Any], facts: tuple[object, ...]) -> None:
    with raises_naming(UsageError, *facts):
        BuildOptions(**values)
