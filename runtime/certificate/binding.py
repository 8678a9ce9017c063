"""What a certificate is about, and how it was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from efq.runtime.certificate.record import SCHEMA, Count, Digest, Number, Rate, Record, Text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Binding(Record):
    """The two networks by their digests, and what served them.

    artifact: its name. target, backend: what it was exported for, and what served it here. model_sha256: of its
    model.onnx. teacher, teacher_sha256: name and digest of the float network's file. student_sha256: of the student's
    file, None where none was kept. machine: the CPU or GPU; machine_class: "no VNNI", "VNNI, 64 pairs of bytes a
    cycle", ... tools: version by package.
    """

    artifact: Text
    target: Text
    backend: Text
    model_sha256: Digest
    teacher: Text
    teacher_sha256: Digest
    student_sha256: Digest | None
    machine: Text
    machine_class: Text
    tools: Mapping[Text, Text]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol(Record):
    """On what and how it was measured.

    faces: what they are, in words; faces_sha256: over all of them. images, identities, genuine_pairs, impostor_pairs:
    compared, all pairs. attempts, failures_to_enrol: images tried, and those that could not be decoded, of which the
    failure-to-enrol rate is the ratio. certified_fmr: the FMR that gates and drops are about: 1e-4, or the lowest above
    it that thirty impostor pairs decide. enrolled, mated_searches, nonmated_searches: of 1:N: one image each of so many
    people, the others of these people, and those of people who are not enrolled. resamples, confidence, seed: of the
    intervals, by bootstrap over people.
    """

    faces: Text
    faces_sha256: Digest | None
    images: Count
    identities: Count
    genuine_pairs: Count
    impostor_pairs: Count
    attempts: Count
    failures_to_enrol: Count
    certified_fmr: Rate
    enrolled: Count
    mated_searches: Count
    nonmated_searches: Count
    resamples: Count
    confidence: Rate
    seed: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.failures_to_enrol <= self.attempts
        SCHEMA.expect(fits, "failures_to_enrol", "no more of them than attempts", self.failures_to_enrol)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate(Record):
    """A figure that was asked for: `name` the option, `limit` the most it may be, `found` what it is.

    unit: "points" (of a hundred) or "share".
    """

    name: Text
    limit: Number
    found: Number
    unit: Text

    @property
    def passed(self) -> bool:
        """Whether it holds."""
        return self.found <= self.limit
