"""The choice between the CPU backends: measured once, remembered, never at the price of other embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from artifacts import make_artifact, make_manifest
from hypothesis import given
from hypothesis import strategies as st
from messages import names, raises_naming
from numpy.typing import NDArray

from efq.runtime import Embedder, InputContract, UsageError
from efq.runtime.backends import choice as choice_module
from efq.runtime.backends import open as opening
from efq.runtime.backends.choice import Choice, cache_path, choose, read_choice
from efq.runtime.machine.cpu import Cpu

BACKENDS = {"onnxruntime": None, "openvino": None}


class Stub:
    """A model whose embeddings are a fixed direction, turned by an angle, after `milliseconds`."""

    def __init__(self, clock: list[float], milliseconds: float, angle: float = 0.0) -> None:
        self.clock, self.seconds, self.angle = clock, milliseconds / 1e3, angle

    @property
    def name(self) -> str:
        return "stub"

    @property
    def metadata(self) -> Mapping[str, str]:
        return {}

    def check_signature(self, contract: InputContract, embedding_size: int) -> None:
        pass

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.clock[0] += self.seconds * len(images)
        return np.tile(np.array([[np.cos(self.angle), np.sin(self.angle)]], np.float32), (len(images), 1))

    def close(self) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(choice_module.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("milliseconds", "angle", "tolerance", "expected"),
    [
        ((2.0, 1.0), 0.0, 1e-4, "openvino"),
        ((1.0, 2.0), 0.0, 1e-4, "onnxruntime"),
        ((2.0, 1.85), 0.0, 1e-4, "onnxruntime"),  # not worth another runtime
        ((2.0, 1.75), 0.0, 1e-4, "openvino"),
        ((2.0, 1.0), 0.1, 1e-4, "onnxruntime"),  # cosine 0.995
        ((2.0, 1.0), 0.1, 0.01, "openvino"),
    ],
)
def test_the_faster_of_those_that_agree(
    clock: list[float], milliseconds: tuple[float, float], angle: float, tolerance: float, expected: str
) -> None:
    models = {"onnxruntime": Stub(clock, milliseconds[0]), "openvino": Stub(clock, milliseconds[1], angle)}
    found = choose(models, own="onnxruntime", contract=InputContract(), tolerance=tolerance)
    assert found.backend == expected
    assert found.least_cosine == pytest.approx(np.cos(angle), abs=1e-6)
    agree = 1 - np.cos(angle) <= tolerance
    assert dict(found.milliseconds) == (
        dict(zip(models, map(pytest.approx, milliseconds), strict=True)) if agree else {}
    )


def test_the_artifacts_own_backend_needs_no_agreement(clock: list[float]) -> None:
    models = {"onnxruntime": Stub(clock, 1.0), "openvino": Stub(clock, 9.0, 1.0)}
    assert choose(models, own="openvino", contract=InputContract(), tolerance=0.0).backend == "openvino"


def test_a_choice_is_measured_once_and_read_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    directory = make_artifact(tmp_path / "artifact")
    first = Embedder.open(directory, threads=1)
    (remembered,) = (tmp_path / "cache" / "cpu-backend").iterdir()
    text = remembered.read_text()
    assert set(json.loads(text)["milliseconds"]) == {"onnxruntime", "openvino"}  # the tiny model is the same in both
    monkeypatch.setattr(opening, "choose", lambda *_, **__: pytest.fail("measured again"))
    assert Embedder.open(directory, threads=1).backend == first.backend
    other = "onnxruntime" if first.backend == "openvino" else "openvino"
    remembered.write_text(text.replace(f'"backend": "{first.backend}"', f'"backend": "{other}"'))
    assert Embedder.open(directory, threads=1).backend == other


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"{}", b'{"format": 1, "backend": "tflite"}', b"[1]", b"{" * 9999]
)
def test_a_corrupt_cache_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    directory = make_artifact(tmp_path / "artifact")
    Embedder.open(directory, threads=1)
    (remembered,) = (tmp_path / "cache" / "cpu-backend").iterdir()
    remembered.write_bytes(content)
    Embedder.open(directory, threads=1)
    assert read_choice(remembered, BACKENDS) is not None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    assert Embedder.open(make_artifact(tmp_path / "artifact"), threads=1).backend in BACKENDS


def test_each_fact_has_its_own_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def path(model: str = "a", threads: int = 1, tolerance: float = 0.0) -> Path:
        return cache_path(model, backends=("onnxruntime",), threads=threads, tolerance=tolerance)

    same = path()
    assert path() == same
    others = [path("b"), path(threads=2), path(tolerance=0.1)]
    other = Cpu(name="other", architecture="x86_64", cores=2, isa=None)
    monkeypatch.setattr(choice_module, "describe_cpu", lambda: other)
    others.append(path())
    assert len({same, *others}) == 5


@given(
    st.builds(
        Choice,
        backend=st.sampled_from(sorted(BACKENDS)),
        milliseconds=st.dictionaries(st.sampled_from(sorted(BACKENDS)), st.floats(0, 1e6)),
        least_cosine=st.floats(-1, 1),
    )
)
def test_a_choice_survives_its_file(found: Choice) -> None:
    assert Choice.from_json(found.to_json(), BACKENDS) == found


def test_an_explicit_other_backend_is_said_to_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("openvino")
    directory = make_artifact(tmp_path / "artifact")
    Embedder.open(directory, backend="onnxruntime")
    assert not caplog.records
    Embedder.open(directory, backend="openvino")
    (warning,) = caplog.messages
    names(warning, directory, "onnxruntime", "openvino")


def test_an_artifact_for_openvino_is_served_by_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(opening, "choose", lambda *_, **__: pytest.fail("there is nothing to choose"))
    directory = make_artifact(tmp_path / "artifact", manifest=make_manifest(target="openvino"))
    assert Embedder.open(directory, threads=1, tolerance=2.0).backend == "openvino"
    with raises_naming(UsageError, directory, "openvino", "onnxruntime") as caught:
        Embedder.open(directory, backend="onnxruntime")
    assert caught.value.exit_code == 2
