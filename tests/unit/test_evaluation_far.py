from __future__ import annotations

import itertools

import numpy as np
import pytest
from messages import raises_naming
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError
from efq.toolchain.evaluation import all_pairs, equal_decisions, roc_curve, tar_at_far


def clusters(
    identities: int = 40, images: int = 4, noise: float = 1.2, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), images)
    embeddings = generator.normal(size=(identities, 16))[labels] + noise * generator.normal(size=(len(labels), 16))
    order = generator.permutation(len(labels))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return unit[order].astype(np.float32), labels[order]


def brute_force(embeddings: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    pairs = [(i, j) for i in range(len(labels)) for j in range(i)]
    genuine = [float(embeddings[i] @ embeddings[j]) for i, j in pairs if labels[i] == labels[j]]
    impostor = [float(embeddings[i] @ embeddings[j]) for i, j in pairs if labels[i] != labels[j]]
    return genuine, impostor


@pytest.mark.parametrize("block", [1, 13, 512])
@pytest.mark.parametrize("far", [0.0, 1e-3, 1e-2, 0.07, 1.0])
def test_equals_brute_force(block: int, far: float) -> None:
    embeddings, labels = clusters()
    genuine, impostor = brute_force(embeddings, labels)
    pairs = all_pairs(embeddings, labels + 7, block=block)
    found = tar_at_far(pairs, far)
    assert len(pairs.genuine) == len(genuine)
    assert pairs.impostor_pairs == len(impostor)
    # No lower impostor similarity keeps the share of impostors above it within the FAR.
    assert np.mean([value > found.threshold + 1e-6 for value in impostor]) <= far
    lower = max((value for value in impostor if value < found.threshold - 1e-6), default=None)
    if lower is not None:
        assert np.mean([value > lower for value in impostor]) > far
    assert found.tar == pytest.approx(np.mean([value > found.threshold + 1e-6 for value in genuine]))
    assert found.enough_impostors == (far * len(impostor) >= 30)


def test_keeps_only_the_hardest_impostors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efq.toolchain.evaluation.figures.far._KEPT_AT_LEAST", 1)
    embeddings, labels = clusters()
    few = all_pairs(embeddings, labels, highest_far=1e-3, block=8)
    monkeypatch.undo()
    everything = all_pairs(embeddings, labels, block=8)
    assert len(few.impostor) == int(4e-3 * few.impostor_pairs) + 1 < len(everything.impostor)
    np.testing.assert_array_equal(few.impostor, everything.impostor[: len(few.impostor)])
    np.testing.assert_array_equal(few.impostor_identities, everything.impostor_identities[: len(few.impostor)])
    with raises_naming(UsageError, "FAR", 0.5):
        tar_at_far(few, 0.5)


def test_equal_similarities_are_not_above_each_other() -> None:
    embeddings = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2]]
    found = tar_at_far(all_pairs(embeddings, np.array([0, 1, 1, 2, 2])), 0.2)
    # Impostor similarities 1, 1 and six zeros (the genuine pair 1-1 is 0, the pair 2-2 is 0): 0.2 allows one pair,
    # but a threshold under 1 would let both through.
    assert found.threshold == 1.0
    assert found.tar == 0.0


def test_roc_curve_rises() -> None:
    embeddings, labels = clusters()
    points = roc_curve(all_pairs(embeddings, labels), points=50)
    assert points[0].far == pytest.approx(1.0 / all_pairs(embeddings, labels).impostor_pairs)
    assert points[-1].far == pytest.approx(1e-2)
    assert all(a.tar <= b.tar and a.threshold >= b.threshold for a, b in itertools.pairwise(points))


def test_equal_decisions_over_all_pairs() -> None:
    first, labels = clusters()
    second, _ = clusters(noise=0.9)
    n = len(labels)
    expected = np.mean(
        [((first[i] @ first[j]) > 0.5) == ((second[i] @ second[j]) > 0.4) for i in range(n) for j in range(i)]
    )
    assert equal_decisions(first, 0.5, second, 0.4, block=11) == pytest.approx(expected)
    assert equal_decisions(first, 0.5, first, 0.5) == 1.0


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_sets_without_both_kinds_of_pairs_are_errors(labels: list[int]) -> None:
    with raises_naming(InputError, len(labels), len(set(labels))):
        all_pairs(np.eye(3, dtype=np.float32), np.array(labels))
