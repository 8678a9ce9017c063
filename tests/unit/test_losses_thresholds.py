from __future__ import annotations

import numpy as np
import pytest
import torch
from messages import raises_naming

from efq.runtime.errors import InputError
from efq.toolchain.losses import impostor_thresholds

RATES = (0.3, 1e-1, 1e-2, 1e-3, 1e-6)


@pytest.mark.parametrize("block", [1, 7, 50, 512])
def test_equals_a_sort_of_every_impostor_pair(block: int) -> None:
    generator = np.random.default_rng(0)
    embeddings, labels = generator.normal(size=(120, 6)), generator.integers(0, 30, 120)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similarities = sorted(
        (unit[i] @ unit[j] for i in range(120) for j in range(i) if labels[i] != labels[j]), reverse=True
    )
    expected = [similarities[int(rate * len(similarities))] for rate in RATES]
    found = impostor_thresholds(torch.from_numpy(embeddings), torch.from_numpy(labels), RATES, block=block)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_one_identity_is_an_error() -> None:
    with raises_naming(InputError, 1, "identities"):
        impostor_thresholds(torch.randn(3, 4), torch.zeros(3, dtype=torch.int64), RATES)
