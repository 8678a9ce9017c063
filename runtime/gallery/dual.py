"""A gallery on its way from one model to another: faces not embedded again yet by the old one, the others by the new.

A search looks among both and merges them by how rarely a stranger is as alike (`scale`). The faces that wait are
searched with the probe's embedding by the old model, or by the new one where a certificate or a map says that this may
be: `needs_old_probes`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, SchemaError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.npz import read_arrays, text_of, write_arrays
from efq.runtime.gallery.record import GalleryRecord
from efq.runtime.gallery.scale import ScoreScale
from efq.runtime.gallery.search import search_people
from efq.runtime.reading import parse_json

EXPECTED = "a gallery of two models (.npz of efq-migrate --by dual)"
_PARTS = ("embeddings", "people", "faces", "hashes", "record")
_NAMES = frozenset({f"{side}_{part}" for side in ("old", "new") for part in _PARTS} | {"scales"})


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DualMatches:
    """The best k people for each of P probes, best first: `people` (P, k) text, `scores` (P, k) float64.

    A score is -log10 of the FMR: a threshold of 4 is an FMR of 1e-4 for the faces of both models. Where there are fewer
    people the text is empty and the score -inf.
    """

    people: NDArray[np.str_]
    scores: NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DualGallery:
    """`old`: the faces that wait. `new`: those embedded again, in the order of that. Scales: of the similarities of
    probes to either, on the same impostor pairs.

    Raises InputError where a face is in both.
    """

    old: Gallery
    new: Gallery
    old_scale: ScoreScale
    new_scale: ScoreScale

    def __post_init__(self) -> None:
        both = np.intersect1d(self.old.faces, self.new.faces)
        if len(both):
            message = f"expected each face by one of both models, found {len(both)} by both, first {str(both[0])!r}"
            raise InputError(message)

    @property
    def needs_old_probes(self) -> bool:
        """Whether probes have to be embedded by the old model as well."""
        return not self.old.record.allows(self.new.record.model)

    def search(
        self, new_probes: NDArray[np.float32], old_probes: NDArray[np.float32] | None = None, k: int = 1
    ) -> DualMatches:
        """Search for the same P probes by the new model, and by the old one where `needs_old_probes`.

        Exact: a person among the best k of all is among the best k of one of both. Raises InputError for probes that do
        not fit.
        """
        if self.needs_old_probes != (old_probes is not None):
            needed = "by both models" if self.needs_old_probes else "by the new model alone"
            message = f"expected probes {needed}, {self.old.record.model} and {self.new.record.model}; found others"
            raise InputError(message)
        waiting = new_probes if old_probes is None else old_probes
        if len(waiting) != len(new_probes):
            message = f"expected the same probes by both models, found {len(waiting)} and {len(new_probes)}"
            raise InputError(message)
        sides = ((self.old, waiting, self.old_scale), (self.new, new_probes, self.new_scale))
        people, scores = [], []
        for gallery, probes, scale in sides:
            names = np.unique(gallery.people)
            found = search_people(gallery.embeddings, gallery.people, probes, k)
            people.append(names[found.places])
            scores.append(scale.of(found.similarities))
        return _merged(people, scores, k)


def _merged(people: list[NDArray[np.str_]], scores: list[NDArray[np.float64]], k: int) -> DualMatches:
    """The best k of both, each person once with the better score."""
    names, values = np.concatenate(people, axis=1), np.concatenate(scores, axis=1)
    same = people[0][:, :, None] == people[1][:, None, :]
    first = scores[0][:, :, None] >= scores[1][:, None, :]
    values[:, : scores[0].shape[1]][(same & ~first).any(axis=2)] = -np.inf
    values[:, scores[0].shape[1] :][(same & first).any(axis=1)] = -np.inf
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    names, values = np.take_along_axis(names, order, axis=1), np.take_along_axis(values, order, axis=1)
    return DualMatches(people=np.where(np.isneginf(values), "", names), scores=values)


def write_dual(path: Path, dual: DualGallery, *, replace: bool = True) -> None:
    """Write it whole; the same one gives the same bytes. Raises UsageError as `atomic_file`."""
    arrays: dict[str, NDArray[Any]] = {}
    for side, gallery in (("old", dual.old), ("new", dual.new)):
        values = (gallery.embeddings, gallery.people, gallery.faces, gallery.hashes)
        arrays |= {f"{side}_{part}": value for part, value in zip(_PARTS, values, strict=False)}
        arrays[f"{side}_record"] = np.array(gallery.record.to_json())
    scales = {"old": dual.old_scale.to_dict(), "new": dual.new_scale.to_dict()}
    arrays["scales"] = np.array(json.dumps(scales, sort_keys=True))
    write_arrays(path, arrays, replace=replace)


def read_dual(path: Path | str) -> DualGallery:
    """Read and check what `write_dual` wrote.

    Raises InputError for a file that is none or damaged, SchemaError for its records.
    """
    path = Path(path)
    arrays = read_arrays(path, _NAMES, expected=EXPECTED)
    if set(arrays) != _NAMES:
        message = f"expected {EXPECTED} at {path}, found one with {', '.join(sorted(arrays))}"
        raise InputError(message)
    scales = parse_json(text_of(arrays["scales"], path), f"scales in {path}", error_class=SchemaError)
    if not isinstance(scales, dict) or set(scales) != {"old", "new"}:
        message = f"expected the scales of both models in {path}, found others; write the gallery again"
        raise SchemaError(message)
    sides = {}
    for side in ("old", "new"):
        values = {part: arrays[f"{side}_{part}"] for part in _PARTS}
        sides[side] = Gallery.of(
            values["embeddings"],
            values["people"],
            values["faces"],
            GalleryRecord.from_json(text_of(values["record"], path)),
            hashes=values["hashes"],
        )
    return DualGallery(
        old=sides["old"],
        new=sides["new"],
        old_scale=ScoreScale.from_dict(scales["old"]),
        new_scale=ScoreScale.from_dict(scales["new"]),
    )


def is_dual(path: Path) -> bool:
    """Whether `write_dual` wrote the file there. Never raises."""
    try:
        read_dual(path)
    except (InputError, SchemaError):
        return False
    return True
