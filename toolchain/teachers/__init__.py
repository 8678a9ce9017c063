"""Float networks to learn from, whatever file they come in."""

from __future__ import annotations

from efq.runtime.faces.normalization import Normalization
from efq.toolchain.teachers.formats import open_teacher
from efq.toolchain.teachers.teacher import Teacher, TeacherFormat

__all__ = ["Normalization", "Teacher", "TeacherFormat", "open_teacher"]
