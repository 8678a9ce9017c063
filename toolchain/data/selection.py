"""Choosing at most so many images of a set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def select_images(labels: NDArray[np.int64], max_images: int, seed: int) -> NDArray[np.int64]:
    """Indices, sorted, of at most `max_images` images, whole identities as far as possible.

    Identities are taken in an order drawn from `seed`, those with at least two images first, as only they give genuine
    pairs. One that does not fit as a whole is passed over for smaller ones; what is then still free is filled with a
    part of the first one passed over, so that exactly min(max_images, N) images are kept.

    `labels` (N,) are 0..M-1.
    """
    generator = np.random.default_rng(seed)
    counts = np.bincount(labels)
    order = generator.permutation(len(counts))
    order = np.concatenate([order[counts[order] >= 2], order[counts[order] < 2]])
    free = max_images
    taken: list[int] = []
    passed_over: list[int] = []
    for identity in order.tolist():
        fits = counts[identity] <= free
        (taken if fits else passed_over).append(identity)
        free -= int(counts[identity]) if fits else 0
    kept = np.flatnonzero(np.isin(labels, taken))
    for identity in passed_over:
        part = generator.permutation(np.flatnonzero(labels == identity))[:free]
        kept = np.concatenate([kept, part])
        free -= len(part)
        if free == 0:
            break
    return np.sort(kept)
