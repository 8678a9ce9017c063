"""Where tests keep enrolled people: a function for each kind of store, which gives a place without a gallery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import postgresql
import qdrant_local
from galleries import model, unit
from numpy.typing import NDArray

from efq.runtime.gallery.record import EmbeddingModel
from efq.runtime.gallery.stores.open import open_gallery
from efq.runtime.gallery.stores.store import GalleryStore, Template
from efq.runtime.gallery.stores.thresholds import FmrThresholds

PLACES: Mapping[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: str(folder / "gallery.db"),
    "postgresql": lambda folder: postgresql.new_place(),
    "qdrant": lambda folder: qdrant_local.new_place(),
}
"""By kind: a folder of the test's own -> a place for `open_gallery`. It may skip the test where a server is missing."""

SIZE = 16
MODEL: EmbeddingModel = model("store", size=SIZE)
THRESHOLDS = FmrThresholds(points=((1e-2, 0.25), (1e-3, 0.5)))


def open_store(place: str, *, template: Template | None = None, create: bool = True) -> GalleryStore:
    """As `open_gallery` does for an artifact of `MODEL`, whose certificate has `THRESHOLDS`."""
    store = open_gallery(place, MODEL, template=template, create=create)
    store._thresholds = THRESHOLDS
    return store


def faces(count: int, *, seed: int, size: int = SIZE) -> NDArray[np.float32]:
    """(count, size) of unit length, in any direction."""
    return unit(np.random.default_rng(seed).normal(size=(count, size)))


def near(row: NDArray[np.float32], *, spread: float = 0.2, seed: int = 0) -> NDArray[np.float32]:
    """(d,) near a face, as another image of the same person."""
    noise = np.random.default_rng(seed).normal(size=row.shape) * spread / row.shape[0] ** 0.5
    return unit((row + noise)[None])[0]
