"""The embedding term of distillation: the angle between the student's and the teacher's embedding of the same image."""

from __future__ import annotations

import torch
from torch.nn import functional


def cosine_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - cos(student, teacher) over a batch, a scalar in [0, 2]; the gradient goes to the student only.

    `student` and `teacher` are (B, d) float embeddings of the same images, normalized or not. For unit vectors this is
    half their squared distance, that is d/2 times the mean squared error of QuantFace (Boutros et al., ICPR 2022).
    """
    return (1.0 - functional.cosine_similarity(student.float(), teacher.detach().float(), dim=1)).mean()
