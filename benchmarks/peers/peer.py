"""What every compared network offers, and the input of those that take floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

EMBEDDING_BATCH = 16

Preprocess = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Normalization of a float network: uint8 (N, H, W, 3) RGB -> float32 (N, 3, H, W)."""


class Peer(Protocol):
    """A network opened for a number of threads, ready to be timed and to embed faces."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    @property
    def file_bytes(self) -> int:
        """The size of the files a user would deploy, in bytes."""

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """The input of `run`, from uint8 images (N, H, W, 3) RGB; not part of the timed work."""

    def run(self, prepared: NDArray[Any]) -> NDArray[np.float32]:
        """One inference: float32 (N, d), not necessarily of unit length."""

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings of uint8 images (N, H, W, 3) RGB: float32 (N, d), unit length."""

    def close(self) -> None:
        """End what it started; it is not used afterwards."""


def embed_in_batches(peer: Peer, images: NDArray[np.uint8], batch: int = EMBEDDING_BATCH) -> NDArray[np.float32]:
    """Unit-length embeddings by `peer.run`, `batch` images at a time; the last batch is filled up by repetition.

    A constant batch size keeps runtimes that compile for a shape from compiling twice.
    """
    parts = []
    for start in range(0, len(images), batch):
        chunk = np.asarray(images[start : start + batch])
        filled = np.resize(chunk, (batch, *chunk.shape[1:]))
        parts.append(np.array(peer.run(peer.prepare(filled))[: len(chunk)], np.float32))
    return unit_length(np.concatenate(parts))


def unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row divided by its Euclidean norm."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), np.float32)
