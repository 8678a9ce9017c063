"""Searching a gallery: the example of what embeddings are for."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A gallery image (its place among the images), its cosine to the probe, and whether it is the same person."""

    image: int
    similarity: float
    same: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """A probe and its best matches, best first."""

    probe: int
    matches: tuple[Match, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GallerySearch:
    """`examples` drawn at random, and over all probes the share whose best match is the same person."""

    examples: tuple[Search, ...]
    gallery: int
    probes: int
    rank_one: float


def search_gallery(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], *, examples: int, best: int, seed: int = 0
) -> GallerySearch:
    """The first image of every identity is the gallery, every other image a probe.

    `embeddings` (N, d) of unit length, `labels` (N,). Brute force: one matrix product.
    """
    _, gallery = np.unique(labels, return_index=True)
    probes = np.setdiff1d(np.arange(len(labels)), gallery)
    similarity = embeddings[probes] @ embeddings[gallery].T
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :best]
    rank_one = float((labels[gallery[order[:, 0]]] == labels[probes]).mean())
    chosen = np.sort(np.random.default_rng(seed).permutation(len(probes))[:examples])
    return GallerySearch(
        examples=tuple(
            Search(
                probe=int(probes[row]),
                matches=tuple(
                    Match(
                        image=int(gallery[column]),
                        similarity=float(similarity[row, column]),
                        same=bool(labels[gallery[column]] == labels[probes[row]]),
                    )
                    for column in order[row]
                ),
            )
            for row in chosen
        ),
        gallery=len(gallery),
        probes=len(probes),
        rank_one=rank_one,
    )
