"""Artifacts of one student are told from those of others, and are measured in what serves them."""

from __future__ import annotations

from pathlib import Path

import pytest
from artifacts import make_artifact, make_manifest

from efq.benchmarks import candidates
from efq.benchmarks.candidates import artifact_candidates, student_of
from efq.runtime.artifact.manifest import REDUCED_RANGE


def test_the_student_is_the_same_for_every_target_and_name() -> None:
    recipe = {"activation": "relu", "training": {"loss": 0.25, "seed": 0}}
    student = student_of(make_manifest(recipe=recipe))
    requantized = recipe | {"requantized": {"layers": 3}}
    full_range = recipe | {REDUCED_RANGE: False}
    others = [{"recipe": requantized}, {"recipe": full_range}]
    for changes in ({"target": "openvino"}, {"name": "other", "created": "2026-01-02"}, *others):
        assert student_of(make_manifest(**({"recipe": recipe} | changes))) == student
    for changes in (
        {"recipe": recipe | {"training": {"loss": 0.26, "seed": 0}}},
        {"teacher": {"name": "random", "sha256": "2" * 64, "licence": "Apache-2.0"}},
        {"data": {"images": 3, "identities": 1, "sha256": "1" * 64, "licence": "none"}},
    ):
        assert student_of(make_manifest(**({"recipe": recipe} | changes))) != student


class Served:
    """Stands for an Embedder that OpenVINO serves: which runtime is faster is not for a test to know."""

    backend = "openvino"

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("target", "backends"), [("ort-cpu", ["onnxruntime", "openvino"]), ("openvino", ["openvino"])])
def test_an_artifact_is_measured_in_its_own_runtime_and_in_what_serves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, backends: list[str]
) -> None:
    manifest = make_manifest(target=target)
    directory = make_artifact(tmp_path / "artifact", manifest=manifest)
    monkeypatch.setattr(candidates.Embedder, "open", lambda *_, **__: Served())
    found = artifact_candidates(directory, manifest, name="mine")
    assert [candidate.spec.backend for candidate in found] == backends
    assert [candidate.name for candidate in found] == ["mine", "mine, served by openvino"][: len(backends)]
    assert len({candidate.student for candidate in found}) == 1
