"""Comparing many embeddings with one another in blocks, so that memory does not grow with the number of pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Block = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int32], NDArray[np.int32]]


def compare_in_blocks(
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    identity: NDArray[np.int32],
    block: int,
    *,
    ordered: bool,
) -> Iterator[Block]:
    """Similarities of `left` (N, d) with `right` (N, d), embeddings of the same N images, `block` rows at a time.

    Yields of each block: similarities (n, m); which of them count (n, m): each two different images once, or with
    `ordered` each as (left, right) and as (right, left); which are of one identity (n, m); the identities of its rows
    (n,) and columns (m,).
    """
    for start in range(0, len(left), block):
        first = 0 if ordered else start
        rows, columns = identity[start : start + block], identity[first:]
        similarities = left[start : start + block] @ right[first:].T
        row, column = np.arange(start, start + len(rows))[:, None], np.arange(first, len(identity))[None]
        yield similarities, (row != column if ordered else row < column), rows[:, None] == columns[None], rows, columns


class HardestPairs:
    """The `count` pairs of highest similarity of all that are added; holds at most about twice as many."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._floor = -np.inf
        self._similarities = np.empty(0, np.float32)
        self._identities = np.empty((0, 2), np.int32)
        self._waiting: list[tuple[NDArray[np.float32], NDArray[np.int32]]] = []
        self._held = 0

    def add(
        self,
        similarities: NDArray[np.float32],
        mask: NDArray[np.bool_],
        rows: NDArray[np.int32],
        columns: NDArray[np.int32],
    ) -> None:
        """Add the pairs of a block (n, m) where `mask` is set, of the identities `rows` (n,) and `columns` (m,)."""
        at_row, at_column = np.nonzero(mask & (similarities > self._floor))
        identities = np.stack([rows[at_row], columns[at_column]], axis=1)
        self._waiting.append((similarities[at_row, at_column], identities))
        self._held += len(at_row)
        if self._held > 2 * self._count:
            self._merge()

    def _merge(self) -> None:
        similarities = np.concatenate([self._similarities, *(part for part, _ in self._waiting)])
        identities = np.concatenate([self._identities, *(part for _, part in self._waiting)])
        if len(similarities) > self._count:
            kept = np.argpartition(similarities, -self._count)[-self._count :]
            similarities, identities = similarities[kept], identities[kept]
            self._floor = similarities.min()
        self._similarities, self._identities = similarities, identities
        self._waiting, self._held = [], len(similarities)

    def descending(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Their similarities (K,), highest first, and both identities of each, (K, 2)."""
        self._merge()
        order = np.argsort(-self._similarities, kind="stable")
        return self._similarities[order], self._identities[order]
