"""Artifacts of one student are told from those of others."""

from __future__ import annotations

from artifacts import make_manifest

from efq.benchmarks.candidates import student_of


def test_the_student_is_the_same_for_every_target_and_name() -> None:
    recipe = {"activation": "relu", "training": {"loss": 0.25, "seed": 0}}
    student = student_of(make_manifest(recipe=recipe))
    requantized = recipe | {"requantized": {"layers": 3}}
    for changes in ({"target": "openvino"}, {"name": "other", "created": "2026-01-02"}, {"recipe": requantized}):
        assert student_of(make_manifest(**({"recipe": recipe} | changes))) == student
    for changes in (
        {"recipe": recipe | {"training": {"loss": 0.26, "seed": 0}}},
        {"teacher": {"name": "random", "sha256": "2" * 64, "licence": "Apache-2.0"}},
        {"data": {"images": 3, "identities": 1, "sha256": "1" * 64, "licence": "none"}},
    ):
        assert student_of(make_manifest(**({"recipe": recipe} | changes))) != student
