"""What efq-bench leaves in an artifact's parity.json: its agreement with the teacher, on which faces, and when."""

from __future__ import annotations

import dataclasses
from typing import Any

from efq.benchmarks.accuracy.parity import AccuracyResults, PairParity
from efq.benchmarks.bench import Bench

SCHEMA_VERSION = 1


def parity_record(bench: Bench) -> list[dict[str, Any]]:
    """The content of parity.json for each artifact of a benchmark that compared faces, in their order."""
    accuracy = bench.results.accuracy
    if accuracy is None:
        return []
    students = bench.student_names or (None,) * len(bench.names)
    return [_record(bench, accuracy, name, student) for name, student in zip(bench.names, students, strict=True)]


def _record(bench: Bench, accuracy: AccuracyResults, name: str, student: str | None) -> dict[str, Any]:
    reference = bench.results.reference
    record = {
        "schema_version": SCHEMA_VERSION,
        "measured": bench.results.created,
        "machine": bench.results.machine.cpu if bench.results.gpu is None else bench.results.gpu.machine.name,
        "faces": {
            "images": accuracy.images,
            "identities": accuracy.identities,
            "genuine_pairs": accuracy.genuine_pairs,
            "impostor_pairs": accuracy.impostor_pairs,
            "sha256": bench.faces_sha256,
        },
        "accuracy": {"teacher": _rates(accuracy, reference), "artifact": _rates(accuracy, name)},
        "teacher": _agreement(accuracy.between(reference, name)),
    }
    if student is not None:
        record["student"] = _agreement(accuracy.between(student, name))
    return record


def _rates(accuracy: AccuracyResults, network: str) -> dict[str, Any]:
    found = accuracy.of(network)
    return {"tar_at_far": dict(found.tar), "thresholds": dict(found.thresholds), "ten_fold": dict(found.ten_fold)}


def _agreement(pair: PairParity) -> dict[str, Any]:
    values = dataclasses.asdict(pair)
    return {key: value for key, value in values.items() if key != "network" and value is not None}
