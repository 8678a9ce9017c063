"""Which faces to embed again first: those that the old embeddings say are most at risk.

FastFill (Jaeckle et al., 2023, https://arxiv.org/abs/2303.04766) learns an uncertainty beside its transformation.
Here are measures that need no training: how alike the nearest stranger is, how much less alike than the own nearest
face, and, with a map, how much of a face the map does not tell. A person is as much at risk as the face of theirs that
is most so, and all faces of a person follow one another, as a search takes the best of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError
from efq.runtime.gallery.gallery import Gallery
from efq.toolchain.migration.mapping import LinearMap

RANDOM, NEAREST, MARGIN, MAP = "random", "nearest", "margin", "map"
MEASURES = (NEAREST, MARGIN, MAP, RANDOM)

_BLOCK = 512


def order_rows(
    gallery: Gallery, measure: str, *, mapping: LinearMap | None = None, seed: int = 0, first: int = 0
) -> NDArray[np.int64]:
    """(N,) rows of the gallery, those at risk first by one of `MEASURES`; "random" is drawn by `seed`.

    So are the `first` rows, that come before in any case: an unbiased sample. Ties keep the gallery's order.

    Raises UsageError for an unknown measure, or "map" without a map; InputError for one of another size.
    """
    codes = np.unique(gallery.people, return_inverse=True)[1]
    drawn = np.random.default_rng(seed).permutation(codes.max() + 1)
    if measure == RANDOM:
        order = np.argsort(drawn[codes], kind="stable")
    else:
        risks = np.full(codes.max() + 1, -np.inf)
        np.maximum.at(risks, codes, risk_of(gallery, measure, mapping=mapping))
        place = np.empty(len(risks), np.int64)
        place[np.argsort(-risks, kind="stable")] = np.arange(len(risks))
        order = np.argsort(place[codes], kind="stable")
    sample = np.random.default_rng(seed).permutation(len(codes))[:first]
    return np.concatenate([np.sort(sample), order[~np.isin(order, sample)]]).astype(np.int64)


def risk_of(gallery: Gallery, measure: str, *, mapping: LinearMap | None = None) -> NDArray[np.float64]:
    """(N,) the higher the more at risk. Raises as `order_rows`."""
    if measure == MAP:
        if mapping is None:
            message = "expected a map between both models to order faces by what it does not tell, found none"
            raise UsageError(message)
        if mapping.matrix.shape[0] != gallery.embeddings.shape[1]:
            message = f"expected a map of {gallery.embeddings.shape[1]} values, found one of {mapping.matrix.shape[0]}"
            raise InputError(message)
        return -mapping.lengths(gallery.embeddings)
    if measure not in (NEAREST, MARGIN):
        message = f"expected one of {', '.join(MEASURES)} to order faces by, found {measure!r}"
        raise UsageError(message)
    own, other = _nearest(gallery)
    several = np.isfinite(own)  # others have one face alone: as alike as it is usual, for want of better
    if measure == NEAREST or not several.any():
        return other
    return other - np.where(several, own, own[several].mean())


def _nearest(gallery: Gallery) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) the highest cosine of each face to another one of its person, -inf for none, and to those of others."""
    codes = np.unique(gallery.people, return_inverse=True)[1]
    own, other = np.empty(len(codes)), np.empty(len(codes))
    for start in range(0, len(codes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        similarities = gallery.embeddings[rows] @ gallery.embeddings.T
        same = codes[rows, None] == codes[None]
        other[rows] = np.where(same, -np.inf, similarities).max(axis=1)
        same[np.arange(len(similarities)), np.arange(start, start + len(similarities))] = False
        own[rows] = np.where(same, similarities, -np.inf).max(axis=1)
    return own, other
