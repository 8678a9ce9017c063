"""The gallery search on embeddings whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from efq.benchmarks.demo.matches import search_gallery

EAST, NORTH, NORTH_EAST = (1.0, 0.0), (0.0, 1.0), (0.8, 0.6)


def test_best_matches_come_first_and_know_the_person() -> None:
    """Gallery: images 0 and 1. Probe 2 is nearer to its own person, probe 3 to the other one."""
    embeddings = np.array([EAST, NORTH, NORTH_EAST, NORTH_EAST], np.float32)
    found = search_gallery(embeddings, np.array([0, 1, 0, 1]), examples=2, best=2)
    assert (found.gallery, found.probes, found.rank_one) == (2, 2, 0.5)
    own, other = found.examples
    assert (own.probe, other.probe) == (2, 3)
    assert [(match.image, match.same) for match in own.matches] == [(0, True), (1, False)]
    assert [(match.image, match.same) for match in other.matches] == [(0, False), (1, True)]
    assert [match.similarity for match in own.matches] == pytest.approx([0.8, 0.6])
