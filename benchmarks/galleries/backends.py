"""What is measured: a function for each kind of store, which gives a place of no gallery; and the index alone."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

from efq.benchmarks.galleries.drawn_people import DrawnPeople
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import EmbeddingModel, GalleryRecord
from efq.runtime.gallery.stores.open import open_gallery

INDEX = "index"
"""The exact scan in memory without a database: rows are drawn again to be scored."""


@contextlib.contextmanager
def _file() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="efq-galleries-") as folder:
        yield str(Path(folder) / "gallery.db")


PLACES: Mapping[str, Callable[[], AbstractContextManager[str]]] = MappingProxyType({"sqlite": _file})


def model_of(people: DrawnPeople) -> EmbeddingModel:
    """The model that they are said to be of."""
    return EmbeddingModel(sha256="0" * 64, name="drawn", embedding_size=people.size)


def fill(place: str, people: DrawnPeople) -> None:
    """Enroll all of them."""
    record = GalleryRecord(model=model_of(people))
    with open_gallery(place, record.model) as store:
        for start, rows in people.parts():
            numbers = range(start, start + len(rows))
            names = [people.person(number) for number in numbers]
            store.add(Gallery.of(rows, names, [f"{number:08}" for number in numbers], record))
