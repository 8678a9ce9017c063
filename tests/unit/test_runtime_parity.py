"""parity.json: written in one way, read in three."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import raises_naming

from efq.runtime import InputError, SchemaError
from efq.runtime.artifact.parity import (
    AccuracyRecord,
    AgreementRecord,
    EvaluationRecord,
    FacesRecord,
    ParityRecord,
    RatesRecord,
)

FRACTIONS = st.floats(0, 1)
COSINES = st.floats(-1, 1)
COUNTS = st.integers(0, 10**12)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | NAMES
)
RATES = st.builds(
    RatesRecord,
    tar_at_far=st.dictionaries(NAMES, FRACTIONS, max_size=3),
    thresholds=st.dictionaries(NAMES, COSINES, max_size=3),
    ten_fold=st.dictionaries(NAMES, FRACTIONS, max_size=3),
)
AGREEMENTS = st.builds(
    AgreementRecord,
    reference=NAMES,
    cosine_mean=COSINES,
    cosine_p1=COSINES,
    cosine_min=COSINES,
    decision_far=st.none() | FRACTIONS,
    equal_decisions=st.none() | FRACTIONS,
    cosine_different=st.none() | COSINES,
)
EVALUATIONS = st.builds(
    EvaluationRecord,
    measured=NAMES,
    machine=NAMES,
    faces=st.builds(
        FacesRecord,
        images=COUNTS,
        identities=COUNTS,
        genuine_pairs=COUNTS,
        impostor_pairs=COUNTS,
        sha256=st.none() | NAMES,
    ),
    accuracy=st.builds(AccuracyRecord, teacher=RATES, artifact=RATES),
    teacher=AGREEMENTS,
    student=st.none() | AGREEMENTS,
)
CHECKS = st.dictionaries(NAMES, PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(NAMES, PLAIN, max_size=2))
RECORDS = st.builds(ParityRecord, export_check=st.none() | CHECKS, evaluation=st.none() | EVALUATIONS)

RATES_FOUND = {"tar_at_far": {"1e-4": 0.98}, "thresholds": {"1e-4": 0.31}, "ten_fold": {"pairs": 0.99}}
AGREEMENT_FOUND = {"reference": "teacher", "cosine_mean": 0.99, "cosine_p1": 0.97, "cosine_min": 0.9}
EVALUATION_FOUND: dict[str, Any] = {
    "measured": "2026-01-01",
    "machine": "a CPU",
    "faces": {"images": 9, "identities": 3, "genuine_pairs": 9, "impostor_pairs": 27, "sha256": "0" * 64},
    "accuracy": {"teacher": RATES_FOUND, "artifact": RATES_FOUND},
    "teacher": AGREEMENT_FOUND | {"decision_far": 1e-4, "equal_decisions": 0.999},
}


@given(RECORDS)
def test_json_round_trip_is_exact_and_canonical(record: ParityRecord) -> None:
    text = record.to_json()
    assert ParityRecord.from_json(text) == record
    assert ParityRecord.from_json(text).to_json() == text
    values = json.loads(text)
    assert list(values) == ["evaluation", "export_check", "schema_version"]
    assert values["schema_version"] == 2


def test_an_export_check_without_a_version_is_read() -> None:
    check = {"images": 16, "least_cosine_to_integer_student": 0.9999}
    assert ParityRecord.from_json(json.dumps({"export_check": check})) == ParityRecord(export_check=check)


@pytest.mark.parametrize("student", [None, AGREEMENT_FOUND])
def test_an_evaluation_of_version_1_is_read(student: dict[str, Any] | None) -> None:
    compared = {} if student is None else {"student": student}
    record = ParityRecord.from_json(json.dumps({"schema_version": 1, **EVALUATION_FOUND, **compared}))
    assert record.export_check is None
    assert record.evaluation is not None
    assert record.evaluation.faces.images == 9
    assert record.evaluation.accuracy.artifact.tar_at_far == {"1e-4": 0.98}
    assert record.evaluation.teacher.equal_decisions == 0.999
    assert (record.evaluation.student is None) == (student is None)


@pytest.mark.parametrize("version", [3, 0, "2", 2.0, True, None])
def test_another_schema_version_is_refused(version: object) -> None:
    with raises_naming(SchemaError, "parity.json", "schema_version", 2, repr(version)) as caught:
        ParityRecord.from_json(json.dumps({"schema_version": version, "export_check": None, "evaluation": None}))
    assert ("pip install --upgrade efq" in str(caught.value)) == (version == 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"measured": 3},
        {"machine": None},
        {"faces": {}},
        {"faces": EVALUATION_FOUND["faces"] | {"images": -1}},
        {"faces": EVALUATION_FOUND["faces"] | {"images": True}},
        {"accuracy": {"teacher": RATES_FOUND}},
        {"accuracy": {"teacher": RATES_FOUND, "artifact": RATES_FOUND | {"tar_at_far": {"1e-4": 98}}}},
        {"accuracy": {"teacher": RATES_FOUND, "artifact": RATES_FOUND | {"thresholds": []}}},
        {"teacher": AGREEMENT_FOUND | {"cosine_min": "0.9"}},
        {"teacher": AGREEMENT_FOUND | {"equal_decisions": 2}},
        {"teacher": AGREEMENT_FOUND | {"colour": "RGB"}},
        {"student": []},
        {"colour": "RGB"},
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_values_that_do_not_fit_are_refused(version: int, changes: dict[str, Any]) -> None:
    evaluation = EVALUATION_FOUND | changes
    values = {"export_check": None, "evaluation": evaluation} if version == 2 else evaluation
    with pytest.raises(SchemaError):
        ParityRecord.from_json(json.dumps({"schema_version": version, **values}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"export_check": {"cosine": NaN}}', '{"export_check": 3}'])
def test_any_other_text_is_a_schema_error(text: str) -> None:
    with pytest.raises(SchemaError):
        ParityRecord.from_json(text)


@given(st.sampled_from([*EVALUATION_FOUND, "student"]), PLAIN | st.lists(PLAIN) | CHECKS)
def test_a_changed_value_is_accepted_or_a_schema_error_but_nothing_else(key: str, value: object) -> None:
    try:
        record = ParityRecord.from_json(json.dumps({"schema_version": 1, **EVALUATION_FOUND, key: value}))
    except SchemaError:
        return
    assert ParityRecord.from_json(record.to_json()) == record


def test_an_export_check_that_is_not_plain_is_refused() -> None:
    for value in (float("nan"), object(), {1, 2}):
        with pytest.raises(InputError):
            ParityRecord(export_check={"value": value}).to_json()
