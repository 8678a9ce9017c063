from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from messages import raises_naming
from numpy.typing import NDArray

from efq.runtime.errors import UsageError
from efq.toolchain.losses import EmbeddingBank, EvaluationMetricConfig, EvaluationMetricLoss, impostor_thresholds

LABELS = torch.tensor([0, 0, 1, 1])


def unit(angles: Sequence[float]) -> torch.Tensor:
    """Unit vectors in the plane: the similarity of two is the cosine of the difference of their angles (degrees)."""
    radians = torch.deg2rad(torch.tensor(angles, dtype=torch.float64))
    return torch.stack([radians.cos(), radians.sin()], dim=1).float()


def ranks(similarities: NDArray[np.float64], thresholds: NDArray[np.float64], tau: float) -> NDArray[np.float64]:
    return (1.0 / (1.0 + np.exp(-(similarities[:, None] - thresholds) / tau))).sum(axis=1)


def random_unit(count: int, size: int, seed: int) -> torch.Tensor:
    vectors = torch.randn(count, size, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


def test_four_images_by_hand() -> None:
    teacher_angles, student_angles = [0.0, 20.0, 60.0, 90.0], [0.0, 30.0, 55.0, 95.0]
    config = EvaluationMetricConfig(false_positive_rates=(0.5, 0.25), temperature=0.1, hardest=2)

    def similarities(angles: list[float], pairs: list[tuple[int, int]]) -> NDArray[np.float64]:
        return np.array([np.cos(np.deg2rad(angles[i] - angles[j])) for i, j in pairs])

    genuine, impostor = [(0, 1), (2, 3)], [(0, 2), (0, 3), (1, 2), (1, 3)]
    # Four impostor pairs: half of them exceed the third largest, a quarter the second largest.
    teacher_sorted = np.sort(similarities(teacher_angles, impostor))[::-1]
    student_sorted = np.sort(similarities(student_angles, impostor))[::-1]
    teacher_thresholds, student_thresholds = teacher_sorted[[2, 1]], student_sorted[[2, 1]]
    hardest = [(1, 2), (0, 2)]  # 25 and 55 degrees apart for the student
    gaps = []
    for pairs in (genuine, hardest):
        student_ranks = ranks(similarities(student_angles, pairs), student_thresholds, 0.1)
        teacher_ranks = ranks(similarities(teacher_angles, pairs), teacher_thresholds, 0.1)
        gaps.append(((student_ranks - teacher_ranks) ** 2).mean())

    loss = EvaluationMetricLoss(EmbeddingBank(LABELS, 2), torch.tensor(teacher_thresholds, dtype=torch.float32), config)
    terms = loss(unit(student_angles), unit(teacher_angles), torch.arange(4))
    np.testing.assert_allclose(loss.student_thresholds.numpy(), student_thresholds, atol=1e-6)
    assert terms.genuine.item() == pytest.approx(gaps[0], rel=1e-4)
    assert terms.impostor.item() == pytest.approx(gaps[1], rel=1e-4)
    assert terms.loss.item() == pytest.approx(0.02 * gaps[0] + 0.01 * gaps[1], rel=1e-4)
    assert min(gaps) > 1e-4


def test_is_zero_for_identical_embeddings_with_and_without_a_bank() -> None:
    labels = torch.arange(60) // 3
    embeddings = random_unit(60, 8, seed=0)
    config = EvaluationMetricConfig()
    thresholds = impostor_thresholds(embeddings, labels, config.false_positive_rates)
    loss = EvaluationMetricLoss(EmbeddingBank(labels, 8), thresholds, config)
    for indices in (torch.arange(12), torch.arange(6, 20)):
        student = embeddings[indices].clone().requires_grad_()
        terms = loss(student, embeddings[indices], indices)
        terms.loss.backward()
        assert terms.loss.item() == 0.0
        assert student.grad is not None
        assert not student.grad.any()


def test_gradient_reaches_only_the_batch_of_the_student() -> None:
    labels = torch.arange(40) // 4
    teacher = random_unit(40, 8, seed=0).requires_grad_()
    student = random_unit(40, 8, seed=1).requires_grad_()
    thresholds = impostor_thresholds(teacher, labels, EvaluationMetricConfig().false_positive_rates)
    loss = EvaluationMetricLoss(EmbeddingBank(labels, 8), thresholds, EvaluationMetricConfig(temperature=0.2))
    loss(student[:20], teacher[:20], torch.arange(20))
    loss(student[20:], teacher[20:], torch.arange(20, 40)).loss.backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert not student.grad[:20].any()
    assert bool(student.grad[20:].any(dim=1).all())
    assert not list(loss.parameters())


def test_pairs_are_all_of_batch_and_bank_each_once() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    bank = EmbeddingBank(labels, 2)
    bank.update(torch.tensor([0, 1, 3]), torch.ones(3, 2), torch.ones(3, 2))
    loss = EvaluationMetricLoss(bank, torch.zeros(6))
    indices = torch.tensor([1, 2, 4])
    columns = [*indices.tolist(), *range(6)]
    found: dict[bool, list[tuple[int, int]]] = {}
    for same, mask in zip((True, False), loss._pairs(indices), strict=True):
        found[same] = [(int(indices[row]), columns[column]) for row, column in mask.nonzero().tolist()]
    assert sorted(found[True]) == [(1, 0), (1, 2), (2, 0), (4, 3)]
    assert sorted(found[False]) == [(1, 3), (1, 4), (2, 3), (2, 4), (4, 0)]
    unordered = [frozenset(pair) for pair in itertools.chain(*found.values())]
    assert len(set(unordered)) == len(unordered)


def test_a_rotation_of_the_student_changes_nothing() -> None:
    labels = torch.arange(30) // 3
    teacher = random_unit(30, 8, seed=0)
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2))).Q
    thresholds = impostor_thresholds(teacher, labels, EvaluationMetricConfig().false_positive_rates)
    loss = EvaluationMetricLoss(EmbeddingBank(labels, 8), thresholds)
    assert loss(teacher @ rotation, teacher, torch.arange(30)).loss.item() == pytest.approx(0.0, abs=1e-6)


def test_evaluation_mode_changes_no_state() -> None:
    labels = torch.arange(20) // 2
    loss = EvaluationMetricLoss(EmbeddingBank(labels, 8), torch.linspace(0.2, 0.7, 6)).eval()
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    loss(random_unit(20, 8, seed=0), random_unit(20, 8, seed=1), torch.arange(20))
    for name, value in loss.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_reloaded_loss_continues_bit_for_bit() -> None:
    labels = torch.arange(40) // 4
    student, teacher = random_unit(40, 8, seed=0), random_unit(40, 8, seed=1)
    losses = [EvaluationMetricLoss(EmbeddingBank(labels, 8), torch.linspace(0.2, 0.7, 6)) for _ in range(2)]
    losses[0](student[:20], teacher[:20], torch.arange(20))
    losses[1].load_state_dict(losses[0].state_dict())
    first, second = (loss(student[20:], teacher[20:], torch.arange(20, 40)).loss.item() for loss in losses)
    assert first == second


def test_a_batch_without_genuine_pairs_counts_impostors_only() -> None:
    loss = EvaluationMetricLoss(EmbeddingBank(torch.arange(8), 8), torch.linspace(0.0, 0.5, 6))
    terms = loss(random_unit(8, 8, seed=0), random_unit(8, 8, seed=1), torch.arange(8))
    assert terms.genuine.item() == 0.0
    assert terms.impostor.item() > 0.0


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"false_positive_rates": ()}, ("false-positive rates", "()")),
        ({"false_positive_rates": (0.0,)}, ("false-positive rates", "(0.0,)")),
        ({"temperature": 0.0}, ("temperature=0.0",)),
        ({"hardest": 0}, ("hardest=0",)),
    ],
)
def test_a_wrong_constant_is_an_error(changes: dict[str, object], facts: tuple[str, ...]) -> None:
    with raises_naming(UsageError, *facts):
        EvaluationMetricConfig(**changes)  # type: ignore[arg-type]


def test_thresholds_must_fit_the_rates() -> None:
    with raises_naming(UsageError, 6, "(3,)"):
        EvaluationMetricLoss(EmbeddingBank(LABELS, 2), torch.zeros(3))
