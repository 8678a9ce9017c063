"""Pairs of an image enrolled by one network and an image probed by another: a gallery that outlives its network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.evaluation.figures.far import AllPairs, compare_embeddings


def cross_pairs(
    gallery: NDArray[np.float32],
    probes: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    highest_far: float = 1e-2,
    block: int = 512,
) -> AllPairs:
    """Compare images enrolled by one network, `gallery` (N, d), with the same images by another, `probes` (N, d).

    All ordered pairs of two different images i, j: i enrolled, j the probe; of unit length both, of people `labels`
    (N,). Otherwise as `all_pairs`, of which it is the same pairs, each twice, where both networks are one. Raises
    InputError also where the embeddings are not of the same images and size, and so cannot be compared.
    """
    if gallery.shape != probes.shape or len(gallery) != len(labels):
        message = (
            f"expected embeddings of the same images and size, found {gallery.shape} and {probes.shape} of "
            f"{len(labels)} labels; networks of other sizes cannot search each other's gallery"
        )
        raise InputError(message)
    return compare_embeddings(gallery, probes, labels, highest_far=highest_far, block=block, ordered=True)
