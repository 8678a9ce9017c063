from __future__ import annotations

import math

import pytest
import torch

from efq.toolchain.losses import cosine_loss


def test_is_the_mean_of_one_minus_the_cosine() -> None:
    student = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, -2.0]])
    teacher = torch.tensor([[5.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    expected = (0.0 + (1.0 - 1.0 / math.sqrt(2.0)) + 2.0) / 3.0
    assert cosine_loss(student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_gradient_goes_to_the_student_only() -> None:
    student = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    teacher = torch.randn(4, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    cosine_loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert bool((student.grad != 0).any())
