"""The certificate of an artifact: what a student costs beside its teacher. Stored as certificate.json."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Self

from efq.runtime.certificate.binding import Binding, Gate, Protocol
from efq.runtime.certificate.calibration import Calibration
from efq.runtime.certificate.cohorts import Cohorts
from efq.runtime.certificate.galleries import Arrangement
from efq.runtime.certificate.rates import CosineToTeacher, Drop, NetworkFigures
from efq.runtime.certificate.record import SCHEMA, SCHEMA_VERSION, Record, Text
from efq.runtime.certificate.thresholds import DeployedThreshold

ARRANGEMENTS = (("teacher", "teacher"), ("student", "student"), ("teacher", "student"), ("student", "teacher"))
"""Gallery and probes of the four of a certificate, in its order: teacher and student alone, then mixed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate(Record):
    """Everything that is certified of one artifact. Raises SchemaError for values that do not fit.

    measured: ISO 8601 date. drops: TAR lost by the student, by FMR. galleries: the four arrangements, in the order of
    `ARRANGEMENTS`. cohorts: None without a cohorts file. gates: those that were asked for.
    """

    measured: Text
    binding: Binding
    protocol: Protocol
    cosine: CosineToTeacher
    teacher: NetworkFigures
    student: NetworkFigures
    drops: tuple[Drop, ...]
    deployed: DeployedThreshold
    galleries: tuple[Arrangement, ...]
    calibration: Calibration
    cohorts: Cohorts | None
    gates: tuple[Gate, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        found = tuple((one.gallery, one.probes) for one in self.galleries)
        SCHEMA.expect(found == ARRANGEMENTS, "galleries", "teacher and student alone, then both mixed ones", found)
        points = (self.student.points, self.teacher.points, *(one.points for one in self.galleries))
        fmrs = [tuple(drop.fmr for drop in self.drops), *(tuple(point.fmr for point in row) for row in points)]
        lengths = {len(fmrs[0]), *(len(one.drops) for one in self.galleries)}
        fits = set(fmrs) == {fmrs[0]} and len(lengths) == 1
        SCHEMA.expect(fits, "points and drops", "one of each of the same FMRs", fmrs)
        certified = self.protocol.certified_fmr
        SCHEMA.expect(certified in fmrs[0], "certified_fmr", "one of the FMRs of the points", certified)

    def arrangement(self, gallery: str, probes: str) -> Arrangement:
        """The figures of one: "teacher" or "student" each."""
        return self.galleries[ARRANGEMENTS.index((gallery, probes))]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

    def to_json(self) -> str:
        """Canonical JSON: keys sorted, indented by one, a newline at the end."""
        return json.dumps(self.to_dict(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse `to_json`'s text. Raises SchemaError for other schema versions, or keys or values that do not fit."""
        values = SCHEMA.parse(text)
        SCHEMA.expect_version(values.pop("schema_version", None))
        return cls.from_dict(values, SCHEMA.file)
