"""What was measured of an artifact: its check at export and its evaluation with faces. Stored as parity.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

from efq.runtime.artifact.schema import FileSchema
from efq.runtime.errors import InputError

SCHEMA_VERSION = 2

UNCERTIFIED = "uncertified"
"""The key of the export check that says why the artifact has no certificate."""

_SCHEMA = FileSchema(
    file="parity.json", version=SCHEMA_VERSION, remedy="measure the artifact again with efq-bench, or export it again"
)
_EVALUATION_VERSION = 1  # held the evaluation alone, its keys beside the version
_LARGEST_COSINE = 1.001  # of vectors of unit length, as computed


@dataclasses.dataclass(frozen=True, kw_only=True)
class FacesRecord:
    """The faces of an evaluation: their numbers, those of their pairs, and the SHA-256 over all, None where not known.

    Raises SchemaError for values that do not fit, as all records here do.
    """

    images: int
    identities: int
    genuine_pairs: int
    impostor_pairs: int
    sha256: str | None = None

    def __post_init__(self) -> None:
        for field in ("images", "identities", "genuine_pairs", "impostor_pairs"):
            _SCHEMA.expect_count(f"faces.{field}", getattr(self, field))
        _SCHEMA.expect(self.sha256 is None or isinstance(self.sha256, str), "faces.sha256", "text", self.sha256)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RatesRecord:
    """How one network does on all pairs: accepted genuine pairs, a fraction, and cosine threshold by FAR ("1e-4").

    ten_fold: accuracy, a fraction, by the name of a list of pairs.
    """

    tar_at_far: Mapping[str, float]
    thresholds: Mapping[str, float]
    ten_fold: Mapping[str, float]

    def __post_init__(self) -> None:
        for field in ("tar_at_far", "thresholds", "ten_fold"):
            values = getattr(self, field)
            _SCHEMA.expect(isinstance(values, Mapping), field, "an object", values)
            for name, value in values.items():
                least = -_LARGEST_COSINE if field == "thresholds" else 0.0
                _SCHEMA.expect_between(f"{field}.{name}", value, least, _LARGEST_COSINE if least else 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccuracyRecord:
    """Rates of the float teacher and of the artifact, on the same faces."""

    teacher: RatesRecord
    artifact: RatesRecord

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """From plain values."""
        found = _keys_checked(cls, "accuracy", values)
        return cls(**{name: RatesRecord(**_keys_checked(RatesRecord, name, rates)) for name, rates in found.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgreementRecord:
    """How far the artifact agrees with the network named `reference`, face by face and pair by pair.

    Mean, first percentile and minimum over the faces of the cosine between their two embeddings. cosine_different: mean
    cosine of the artifact's embeddings of different faces, None where it was not measured. equal_decisions:
    fraction of all pairs that both accept or both refuse, each at its own threshold for decision_far; both None where
    there are too few impostor pairs.
    """

    reference: str
    cosine_mean: float
    cosine_p1: float
    cosine_min: float
    decision_far: float | None = None
    equal_decisions: float | None = None
    cosine_different: float | None = None

    def __post_init__(self) -> None:
        _SCHEMA.expect_text("reference", self.reference)
        for field in ("cosine_mean", "cosine_p1", "cosine_min"):
            _SCHEMA.expect_between(field, getattr(self, field), -_LARGEST_COSINE, _LARGEST_COSINE)
        if self.cosine_different is not None:
            _SCHEMA.expect_between("cosine_different", self.cosine_different, -_LARGEST_COSINE, _LARGEST_COSINE)
        for field in ("decision_far", "equal_decisions"):
            if getattr(self, field) is not None:
                _SCHEMA.expect_between(field, getattr(self, field), 0, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """What efq-bench measured with faces the student was not trained on.

    measured: ISO 8601 date. machine: the CPU or GPU. teacher, student: the artifact's agreement with the float teacher
    and with the student it was exported from, None where that was not compared.
    """

    measured: str
    machine: str
    faces: FacesRecord
    accuracy: AccuracyRecord
    teacher: AgreementRecord
    student: AgreementRecord | None = None

    def __post_init__(self) -> None:
        for field in ("measured", "machine"):
            _SCHEMA.expect_text(field, getattr(self, field))

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """From plain values."""
        found = _keys_checked(cls, "the evaluation", values)
        student = found.get("student")
        return cls(
            measured=found["measured"],
            machine=found["machine"],
            faces=FacesRecord(**_keys_checked(FacesRecord, "faces", found["faces"])),
            accuracy=AccuracyRecord.from_dict(found["accuracy"]),
            teacher=AgreementRecord(**_keys_checked(AgreementRecord, "teacher", found["teacher"])),
            student=None if student is None else AgreementRecord(**_keys_checked(AgreementRecord, "student", student)),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParityRecord:
    """Everything that was measured of an artifact; what was not is None.

    export_check: what its target's export compared, plain values that differ by target. evaluation: by efq-bench.
    """

    export_check: Mapping[str, Any] | None = None
    evaluation: EvaluationRecord | None = None

    def __post_init__(self) -> None:
        fits = self.export_check is None or isinstance(self.export_check, Mapping)
        _SCHEMA.expect(fits, "export_check", "an object", self.export_check)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; every key is there, None for what was not measured."""
        return {
            "schema_version": SCHEMA_VERSION,
            "export_check": None if self.export_check is None else dict(self.export_check),
            "evaluation": None if self.evaluation is None else dataclasses.asdict(self.evaluation),
        }

    def to_json(self) -> str:
        """Canonical JSON: keys sorted, indented by two, a newline at the end.

        Raises InputError for an export check of other values than text, finite numbers, lists and mappings.
        """
        try:
            return json.dumps(self.to_dict(), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            message = f"expected plain finite values for JSON, found: {error}; pass numbers, text, lists and mappings"
            raise InputError(message) from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse `to_json`'s text, or that of an artifact written before: an export check alone or an evaluation alone.

        Raises SchemaError for newer schema versions, or keys or values that do not fit.
        """
        values = _SCHEMA.parse(text)
        if set(values) == {"export_check"}:
            return cls(export_check=values["export_check"])
        version = values.pop("schema_version", None)
        if type(version) is int and version == _EVALUATION_VERSION:
            return cls(evaluation=EvaluationRecord.from_dict(values))
        _SCHEMA.expect_version(version)
        found = _keys_checked(cls, _SCHEMA.file, values, all_required=True)
        evaluation = found["evaluation"]
        return cls(
            export_check=found["export_check"],
            evaluation=None if evaluation is None else EvaluationRecord.from_dict(evaluation),
        )


def _keys_checked(record: type[Any], field: str, values: Any, *, all_required: bool = False) -> dict[str, Any]:
    """`values`, an object with the keys of the fields of `record`; those with a default may be absent."""
    _SCHEMA.expect(isinstance(values, Mapping), field, "an object", values)
    fields = dataclasses.fields(record)
    optional = {one.name for one in fields if one.default is not dataclasses.MISSING and not all_required}
    _SCHEMA.expect_keys(field, set(values), {one.name for one in fields}, optional=optional)
    return dict(values)
