"""The record of where a student or an artifact comes from, beside the names, hashes and licences that it has anyway."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Self

from efq.runtime.errors import UsageError

CODE_LICENCE = "Apache-2.0"
"""Of EFQ."""

STATED, PUBLISHED, IN_FILE, BY_HASH = "stated by the user", "as published", "in the file", "known by its hash"
"""Where a teacher's licence comes from."""

LONGEST = 2_000
"""Characters of each text."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lineage:
    """What is known of the origin of a network's weights; None where it is not known. Texts are lines.

    teacher_licence_source: where the teacher's licence comes from, `STATED` or another of these. teacher_known_licence:
    what was known when the user stated another. teacher_provenance: what else is known of the teacher's origin, such
    as an open question. dataset: the name of the fine-tuning faces.
    stated_licence: what the student was labelled with by the user, None where it inherits. licence_reason: why that, or
    the stated licence of the teacher, is wider than what was known. code_licence: of the code that made the student,
    EFQ in version `student_efq`. student_sha256: of the student's file.
    """

    teacher_licence_source: str | None = None
    teacher_known_licence: str | None = None
    teacher_provenance: str | None = None
    dataset: str | None = None
    stated_licence: str | None = None
    licence_reason: str | None = None
    code_licence: str | None = None
    student_efq: str | None = None
    student_sha256: str | None = None

    def licence(self, *, teacher: str, data: str) -> str:
        """What the student was labelled with, or what it inherits of licences of such a teacher and such faces."""
        return self.stated_licence or inherited_licence(teacher, data)

    def to_dict(self) -> dict[str, str]:
        """What is known, as plain values."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """From `to_dict`'s values, of this version of EFQ or another. Raises ValueError for what does not fit."""
        if not isinstance(values, Mapping):
            message = f"expected the texts of a lineage by name, found {type(values).__name__}"
            raise ValueError(message)
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(map(str, set(values) - known))
        if unknown:
            message = f"expected the keys {', '.join(sorted(known))} of a lineage, found {unknown[0][:60]!r}"
            raise ValueError(message)
        for key, value in values.items():
            fits = isinstance(value, str) and 0 < len(value) <= LONGEST and _CONTROL.search(value) is None
            if not fits or (key.endswith("_sha256") and _SHA256.fullmatch(value) is None):
                expected = f"a printable line of at most {LONGEST:,} characters"
                message = f"expected {expected} as {key} of a lineage, found {value!r:.60}"
                raise ValueError(message)
        return cls(**values)


def inherited_licence(teacher: str, data: str) -> str:
    """What a student of such a teacher, fine-tuned on such faces, may be used under: what both ask.

    Of a teacher that nothing is known of, nothing is; faces of which nothing is known add nothing.
    """
    from efq.runtime.lineage.licence import Licence  # a service reads a lineage and compares no licences

    own, faces = Licence.parse(teacher), Licence.parse(data)
    return own.and_also(faces).text if own.is_known and faces.is_known else own.text


def check_licence(licence: str, *, teacher: str, data: str, reason: str | None, remedy: str) -> None:
    """Raise UsageError where `licence` drops what the teacher's or the faces' asks and no `reason` is written down.

    remedy: what to do instead.
    """
    if reason:
        return
    from efq.runtime.lineage.licence import Licence  # as above

    label = Licence.parse(licence)
    for what, source in (("the teacher's licence", Licence.parse(teacher)), ("that of the faces", Licence.parse(data))):
        if (source.is_known or what == "the teacher's licence") and not label.keeps(source):
            message = f"expected a licence that keeps {what} ({source}), found {label.text!r}: {remedy}"
            raise UsageError(message)
