"""Muon against torch.optim.Muon, which takes matrices only."""

from __future__ import annotations

import pytest
import torch
from networks import random_rows
from torch import nn

from efq.toolchain.distillation.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(24, 24), (8, 64), (96, 16)], ids=str)
def test_as_torch_does(shape: tuple[int, int]) -> None:
    """The same updates over five steps, to torch's bfloat16; torch's rate is relative to an update of 0.2."""
    ours, theirs = (nn.Parameter(random_rows(*shape)) for _ in range(2))
    start = ours.detach().clone()
    first = Muon([{"params": [ours]}], lr=0.01)
    second = torch.optim.Muon([theirs], lr=0.05, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for step in range(5):
        ours.grad = random_rows(*shape, seed=step)
        theirs.grad = ours.grad.clone()
        first.step()
        second.step()
    moved, wanted = ours.detach() - start, theirs.detach() - start
    assert float((moved - wanted).norm() / wanted.norm()) < 0.05


def test_a_convolution_is_the_matrix_of_its_filters() -> None:
    convolution, matrix = nn.Parameter(random_rows(8, 4, 3, 3)), nn.Parameter(random_rows(8, 36))
    matrix.data.copy_(convolution.detach().flatten(1))
    convolution.data = convolution.data.contiguous(memory_format=torch.channels_last)
    gradient = random_rows(8, 4, 3, 3, seed=1)
    convolution.grad, matrix.grad = gradient, gradient.flatten(1)
    for parameter in (convolution, matrix):
        Muon([{"params": [parameter]}], lr=0.1).step()
    torch.testing.assert_close(convolution.detach().flatten(1), matrix.detach())
    assert convolution.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(30, 30), (12, 40), (40, 12)], ids=str)
def test_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = random_rows(*shape)
    found = orthogonalize(matrix)
    assert found.shape == matrix.shape
    values = torch.linalg.svdvals(found)
    assert float(values.max()) < 1.3
    assert float(values.median()) > 0.6
    assert torch.equal(orthogonalize(torch.zeros(shape)), torch.zeros(shape))


def test_weight_decay_and_missing_gradients() -> None:
    decayed, silent = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    decayed.grad = torch.zeros(2, 2)
    Muon([{"params": [decayed, silent], "weight_decay": 0.5}], lr=0.1).step()
    torch.testing.assert_close(decayed.detach(), torch.full((2, 2), 0.95))
    assert torch.equal(silent.detach(), torch.ones(2, 2))
