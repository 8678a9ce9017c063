"""Which faces to embed again first: those that are most at risk while others still wait.

FastFill (Jaeckle et al., 2023, https://arxiv.org/abs/2303.04766) learns an uncertainty beside its transformation. Here
are measures that need no training of that kind:

map: how much of a face a linear map does not tell, fitted on faces of the gallery that were drawn and embedded first:
the length of the mapped embedding, before it becomes 1, is about the cosine to expect. For mapped galleries, where
faces that the map tells badly are those that are not found.
central: how alike a face is to all others on average. For galleries searched by both models, where such faces are what
strangers are taken for, and the other model is the one that tells them apart.
margin: how much more alike the nearest stranger is than the own nearest face.

A person is as much at risk as the face of theirs that is most so, and all faces of a person follow one another, as a
search takes the best of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import UsageError
from efq.runtime.gallery.gallery import Gallery
from efq.toolchain.migration.mapping import FOLDS, RIDGE, fit_map

RANDOM, CENTRAL, MARGIN, MAP = "random", "central", "margin", "map"
MEASURES = (MAP, CENTRAL, MARGIN, RANDOM)

LEAST_FITTED = 50
"""Faces to fit the map on; with fewer, or of fewer people than folds, it is the order of "central"."""

_BLOCK = 512


def order_rows(gallery: Gallery, measure: str, *, seed: int = 0) -> NDArray[np.int64]:
    """(N,) rows of the gallery, those at risk first by one of `MEASURES` but "map"; "random" is drawn by `seed`.

    Ties keep the gallery's order. Raises UsageError for another measure.
    """
    if measure == RANDOM:
        codes = np.unique(gallery.people, return_inverse=True)[1]
        return np.argsort(np.random.default_rng(seed).permutation(codes.max() + 1)[codes], kind="stable")
    if measure == CENTRAL:
        return people_first(gallery, gallery.embeddings @ gallery.embeddings.mean(axis=0, dtype=np.float64))
    if measure == MARGIN:
        own, other = _nearest(gallery)
        several = np.isfinite(own)  # others have one face alone: as alike as it is usual, for want of better
        typical = own[several].mean() if several.any() else 0.0
        return people_first(gallery, other - np.where(several, own, typical))
    message = f"expected one of {', '.join(MEASURES)} to order faces by, found {measure!r}"
    raise UsageError(message)


def order_by_map(gallery: Gallery, drawn: NDArray[np.int64], fresh: NDArray[np.float32]) -> NDArray[np.int64]:
    """(N,) rows in the order of "map": fitted on the rows `drawn`, of which `fresh` are the new model's embeddings."""
    codes = np.unique(gallery.people, return_inverse=True)[1]
    if len(drawn) < LEAST_FITTED or len(np.unique(codes[drawn])) < FOLDS:
        return order_rows(gallery, CENTRAL)
    mapping = fit_map(RIDGE, gallery.embeddings[drawn], fresh, codes[drawn])
    return people_first(gallery, -mapping.lengths(gallery.embeddings))


def people_first(gallery: Gallery, risks: NDArray[np.floating]) -> NDArray[np.int64]:
    """(N,) rows person by person, by the highest of their `risks` (N,), the highest first."""
    codes = np.unique(gallery.people, return_inverse=True)[1]
    highest = np.full(codes.max() + 1, -np.inf)
    np.maximum.at(highest, codes, risks)
    place = np.empty(len(highest), np.int64)
    place[np.argsort(-highest, kind="stable")] = np.arange(len(highest))
    return np.argsort(place[codes], kind="stable")


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
