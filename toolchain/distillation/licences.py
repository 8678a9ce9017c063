"""What a student may be used for: what its user states, held against what is known of its teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from efq.runtime.errors import UsageError
from efq.runtime.lineage.licence import Licence
from efq.runtime.lineage.lineage import CODE_LICENCE, STATED, Lineage, check_licence
from efq.runtime.lineage.spdx import UNKNOWN
from efq.runtime.machine.versions import installed_versions
from efq.toolchain.student import Student
from efq.toolchain.teachers import Teacher

_REMEDY = (
    "leave --licence out to have it inherited, or write down why it may be wider with --licence-reason; the reason is "
    "kept, and the model card prints it"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Licences:
    """What the teacher's weights, the faces and the student may be used for, as a user states it.

    teacher: None for what is known of it. student: None to inherit. reason: why either is wider than what is known.
    dataset: the name of the faces.
    """

    teacher: str | None = None
    data: str = UNKNOWN
    student: str | None = None
    reason: str | None = None
    dataset: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """For a student's record: {"name", "sha256", "licence"} of its teacher, the licence of the faces, the rest."""

    teacher: Mapping[str, str]
    data_licence: str
    lineage: Lineage

    @property
    def licence(self) -> str:
        """Of the student."""
        return self.lineage.licence(teacher=self.teacher["licence"], data=self.data_licence)


def find_origin(teacher: Teacher, licences: Licences) -> Origin:
    """The origin of a student of `teacher`; licences with an SPDX identifier are written by it.

    Raises UsageError where a stated licence is wider than what is known and no reason is given, or a reason alone.
    """
    known, data = Licence.parse(teacher.licence), Licence.parse(licences.data).text
    own = known if licences.teacher is None else Licence.parse(licences.teacher)
    _check_reason(licences.reason, licences.teacher, licences.student)
    overridden = known.is_known and not own.keeps(known)
    if overridden and not licences.reason:
        message = (
            f"expected a licence of the teacher {teacher.name} that keeps what is known of it ({known}), found "
            f"{own.text!r}: write down why with --licence-reason (such as: weights trained by us), or leave "
            "--teacher-licence out; the reason is kept, and the model card prints it"
        )
        raise UsageError(message)
    if licences.student is not None:
        check_licence(licences.student, teacher=own.text, data=data, reason=licences.reason, remedy=_REMEDY)
    lineage = Lineage(
        teacher_licence_source=teacher.licence_source if licences.teacher is None else STATED,
        teacher_known_licence=known.text if overridden else None,
        teacher_provenance=teacher.provenance,
        dataset=licences.dataset,
        stated_licence=None if licences.student is None else Licence.parse(licences.student).text,
        licence_reason=licences.reason,
        code_licence=CODE_LICENCE,
        student_efq=installed_versions(("efq",)).get("efq"),
    )
    record = {"name": teacher.name, "sha256": teacher.sha256, "licence": own.text}
    return Origin(teacher=record, data_licence=data, lineage=lineage)


def relabel(student: Student, licence: str | None, reason: str | None) -> Student:
    """The student labelled with `licence`, where there is one.

    Raises UsageError where that drops what its teacher's licence or that of its faces asks and no reason is given, or
    for a reason alone.
    """
    _check_reason(reason, licence)
    if licence is None:
        return student
    asked = {"teacher": student.teacher["licence"], "data": student.data["licence"]}
    check_licence(licence, **asked, reason=reason, remedy=_REMEDY)
    earlier = student.lineage.licence_reason
    reasons = "; ".join(dict.fromkeys(one for one in (earlier, reason) if one))
    stated = Licence.parse(licence).text
    lineage = dataclasses.replace(student.lineage, stated_licence=stated, licence_reason=reasons or None)
    return dataclasses.replace(student, lineage=lineage)


def _check_reason(reason: str | None, *stated: str | None) -> None:
    if reason and not any(stated):
        message = "--licence-reason does nothing without a licence to give it for: add --licence, or leave it out"
        raise UsageError(message)
