"""A student beside its teacher on some faces, before it is written."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import torch

from efq.runtime.errors import ParityError
from efq.toolchain.evaluation.figures.separation import Separation, measure_separation, refuse_collapsed
from efq.toolchain.evaluation.measure import embedding_cosines
from efq.toolchain.networks import torch_embedding
from efq.toolchain.student import Student
from efq.toolchain.teachers import Teacher
from efq.toolchain.teachers.candidate_inputs import Sample

_WORSE_BY = 3.0  # standard errors
_WORSE_TIMES = 0.9  # of the teacher's d-prime

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StudentCheck:
    """The student's agreement with its teacher on `images` faces.

    held_out: that it was neither calibrated nor trained on. cosine_mean, cosine_min: of both embeddings of an image;
    strangers: mean cosine of the student's embeddings of different images. teacher, student: how well each separates
    the people, None where there is no genuine or no impostor pair.
    """

    images: int
    held_out: bool
    cosine_mean: float
    cosine_min: float
    strangers: float
    teacher: Separation | None
    student: Separation | None

    def __str__(self) -> str:
        """For the log, the student's record and the model card."""
        kind = "held-out faces" if self.held_out else "of the faces it was made on (none were held out)"
        text = (
            f"on {self.images} {kind}: mean cosine to the teacher {self.cosine_mean:.4f}, least {self.cosine_min:.4f}, "
            f"mean cosine of different faces {self.strangers:.2f}"
        )
        if self.teacher is None or self.student is None:
            return text
        return (
            f"{text}; d-prime {self.student.d_prime:.2f} (teacher {self.teacher.d_prime:.2f}), "
            f"AUC {self.student.auc:.4f} (teacher {self.teacher.auc:.4f})"
        )


def compare_with_teacher(
    student: Student, teacher: Teacher, sample: Sample, held_out: bool, *, device: torch.device
) -> StudentCheck:
    """Embed the faces of `sample` with both. Raises ParityError for embeddings that are none, or all alike."""
    images, labels = sample
    wanted = torch_embedding(teacher.normalized, device)(images)
    found = torch_embedding(student.network, device)(images)
    strangers = refuse_collapsed(found, "the student", error_class=ParityError)
    cosines = embedding_cosines(wanted, found)
    separations: list[Separation | None] = [None, None]
    if 1 < len(np.unique(labels)) < len(labels):
        separations = [measure_separation(embeddings, labels) for embeddings in (wanted, found)]
    checked = StudentCheck(
        images=len(images),
        held_out=held_out,
        cosine_mean=float(cosines.mean()),
        cosine_min=float(cosines.min()),
        strangers=strangers,
        teacher=separations[0],
        student=separations[1],
    )
    log = _logger.warning if _is_worse(checked) else _logger.info
    log("student %s", checked)
    return checked


def _is_worse(checked: StudentCheck) -> bool:
    if checked.teacher is None or checked.student is None:
        return False
    smaller = checked.student.d_prime < _WORSE_TIMES * checked.teacher.d_prime
    return smaller and checked.teacher.errors_above(checked.student) >= _WORSE_BY
