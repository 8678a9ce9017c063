"""A part of an index: codes of a fixed number of rows, kept by numpy or by faiss, and which are the best for probes.

faiss computes products of bytes without turning them into floats first: for a few probes that is several times as fast
as numpy. For many, a float product of cached blocks is faster. Both are exact in what they say of the codes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_VALUES = 1 << 18  # as float32 within a core's own cache
_SELECTED_ROWS = 1 << 13
_SIGN = np.uint8(128)


class Chunk:
    """Rows are places 0 to `used` - 1; key -1 is a free one. Written by one thread at a time, searched by any number.

    codes: (capacity, d) int8. keys, groups: (capacity,) int64; a group is what a search lists once. is_fast: whether a
    few probes' products of bytes are faster than those of floats.
    """

    is_fast = False

    def __init__(self, capacity: int, size: int) -> None:
        self.keys = np.full(capacity, -1, np.int64)
        self.groups = np.full(capacity, -1, np.int64)
        self.used = 0
        self._codes: NDArray[Any] = self._memory(capacity, size)

    @property
    def capacity(self) -> int:
        """How many rows there is room for."""
        return len(self.keys)

    def _memory(self, capacity: int, size: int) -> NDArray[Any]:
        return np.zeros((capacity, size), np.int8)

    def put(
        self, places: NDArray[np.int64], keys: NDArray[np.int64], groups: NDArray[np.int64], codes: NDArray[np.int8]
    ) -> None:
        """Overwrite rows. A search meanwhile sees the old or the new ones, or takes a mixture for a candidate."""
        self._store(places, codes)
        self.groups[places] = groups
        self.keys[places] = keys
        self.used = max(self.used, int(places.max()) + 1)

    def erase(self, places: NDArray[np.int64]) -> None:
        """Overwrite rows with zeros."""
        self.keys[places] = -1
        self._store(places, np.zeros((len(places), self._codes.shape[1]), np.int8))

    def _store(self, places: NDArray[np.int64], codes: NDArray[np.int8]) -> None:
        self._codes[places] = codes

    def _signed(self, rows: slice | NDArray[np.int64]) -> NDArray[np.int8]:
        return np.asarray(self._codes[rows])

    def products(self, rows: NDArray[np.int64], probe: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) products of some rows with a probe (d,)."""
        return np.asarray(self._signed(rows).astype(np.float32) @ probe)

    def scores(self, probes: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Blocks of rows: the first one's place, and (P, rows) products of probes with codes."""
        used, size = self.used, self._codes.shape[1]
        step = max(1, _BLOCK_VALUES // size)
        for first in range(0, used, _SELECTED_ROWS):
            last = min(used, first + _SELECTED_ROWS)
            found = np.empty((len(probes), last - first), np.float32)
            for start in range(first, last, step):
                stop = min(last, start + step)
                block = self._signed(slice(start, stop)).astype(np.float32)
                np.matmul(probes, block.T, out=found[:, start - first : stop - first])
            yield first, found

    def top(self, codes: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(P, n) the largest `count` products of whole-numbered probes with rows, in order, and these rows (P, n).

        Of fewer rows, all.
        """
        every = np.concatenate([block for _, block in self.scores(codes)], axis=1)
        places = np.argsort(-every, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(every, places, axis=1), places


class FaissChunk(Chunk):
    """Codes in the memory of a faiss index, which holds them as c + 128."""

    is_fast = True

    def _memory(self, capacity: int, size: int) -> NDArray[Any]:
        faiss = _faiss()
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        self._index = faiss.IndexScalarQuantizer(size, kind, faiss.METRIC_INNER_PRODUCT)
        self._index.codes.resize(capacity * size)
        view: NDArray[np.uint8] = faiss.rev_swig_ptr(self._index.codes.data(), capacity * size)
        view[:] = _SIGN
        return view.reshape(capacity, size)

    def _store(self, places: NDArray[np.int64], codes: NDArray[np.int8]) -> None:
        self._codes[places] = codes.view(np.uint8) ^ _SIGN

    def _signed(self, rows: slice | NDArray[np.int64]) -> NDArray[np.int8]:
        return (self._codes[rows] ^ _SIGN).view(np.int8)

    def put(
        self, places: NDArray[np.int64], keys: NDArray[np.int64], groups: NDArray[np.int64], codes: NDArray[np.int8]
    ) -> None:
        """As `Chunk.put`."""
        super().put(places, keys, groups, codes)
        self._index.ntotal = self.used

    def top(self, codes: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As `Chunk.top`. faiss cuts probes to whole numbers, so they have to be such."""
        faiss = _faiss()
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # of the calling thread: those of a service come and go
        try:
            products, places = self._index.search(codes, min(count, self.used))
        finally:
            faiss.omp_set_num_threads(threads)
        return products, places


def _faiss() -> Any:
    return importlib.import_module("faiss")


def has_faiss() -> bool:
    """Whether faiss is installed and has this kind of index."""
    try:
        return hasattr(_faiss().ScalarQuantizer, "QT_8bit_direct_signed")
    except ImportError:
        return False
