"""What efq-bench leaves in an artifact's parity.json: its agreement with the teacher, on which faces, and when."""

from __future__ import annotations

from efq.benchmarks.accuracy.parity import AccuracyResults, PairParity
from efq.benchmarks.bench import Bench
from efq.runtime.artifact.parity import AccuracyRecord, AgreementRecord, EvaluationRecord, FacesRecord, RatesRecord


def evaluation_records(bench: Bench) -> list[EvaluationRecord]:
    """The evaluation of each artifact of a benchmark, in their order; none where it compared no faces."""
    accuracy = bench.results.accuracy
    if accuracy is None:
        return []
    students = bench.student_names or (None,) * len(bench.names)
    return [_record(bench, accuracy, name, student) for name, student in zip(bench.names, students, strict=True)]


def _record(bench: Bench, accuracy: AccuracyResults, name: str, student: str | None) -> EvaluationRecord:
    reference = bench.results.reference
    return EvaluationRecord(
        measured=bench.results.created,
        machine=bench.results.machine.cpu if bench.results.gpu is None else bench.results.gpu.machine.name,
        faces=FacesRecord(
            images=accuracy.images,
            identities=accuracy.identities,
            genuine_pairs=accuracy.genuine_pairs,
            impostor_pairs=accuracy.impostor_pairs,
            sha256=bench.faces_sha256,
        ),
        accuracy=AccuracyRecord(teacher=_rates(accuracy, reference), artifact=_rates(accuracy, name)),
        teacher=_agreement(accuracy.between(reference, name)),
        student=None if student is None else _agreement(accuracy.between(student, name)),
    )


def _rates(accuracy: AccuracyResults, network: str) -> RatesRecord:
    found = accuracy.of(network)
    return RatesRecord(tar_at_far=dict(found.tar), thresholds=dict(found.thresholds), ten_fold=dict(found.ten_fold))


def _agreement(pair: PairParity) -> AgreementRecord:
    return AgreementRecord(
        reference=pair.reference,
        cosine_mean=pair.cosine_mean,
        cosine_p1=pair.cosine_p1,
        cosine_min=pair.cosine_min,
        decision_far=pair.decision_far,
        equal_decisions=pair.equal_decisions,
        cosine_different=pair.cosine_different,
    )
