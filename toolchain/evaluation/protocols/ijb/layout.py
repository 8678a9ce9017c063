"""Where the files of IJB-B or IJB-C lie in a folder, by their names in InsightFace's recognition/_evaluation_/ijb."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

from efq.runtime.errors import InputError

_MEDIA, _LANDMARKS, _PAIRS = "face_tid_mid.txt", "name_5pts_score.txt", "template_pair_label.txt"
_PROBES = "1N_probe_mixed.csv"
_GALLERIES = {  # of IJB-C and of IJB-B
    "ijbc": ("1N_gallery_G1.csv", "1N_gallery_G2.csv"),
    "ijbb": ("1N_gallery_S1.csv", "1N_gallery_S2.csv"),
}
_CROPS = "loose_crop"
_NAMES = (_MEDIA, _LANDMARKS, _PAIRS, _PROBES, *_GALLERIES["ijbc"], *_GALLERIES["ijbb"])
_KNOWN = re.compile(f"({'|'.join(_GALLERIES)})_({'|'.join(map(re.escape, _NAMES))})")
_MOST_FOLDERS = 500
_DEPTH = 2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class IjbFiles:
    """The files of one benchmark.

    name: "IJB-B" or "IJB-C". crops: the folder of images. media: image, template and media a line; landmarks: image,
    ten coordinates and the detector's score. pairs: of the 1:1 protocol. galleries, probes: of the 1:N protocol, two
    and one. None and () where they are not there.
    """

    name: str
    crops: Path
    media: Path
    landmarks: Path
    pairs: Path | None
    galleries: tuple[Path, ...]
    probes: Path | None

    @property
    def lists(self) -> tuple[Path, ...]:
        """All but the images."""
        protocols = (self.pairs, *self.galleries, self.probes)
        return (self.media, self.landmarks, *(path for path in protocols if path is not None))


def find_ijb(folder: Path) -> IjbFiles:
    """Find the benchmark in `folder`: IJBC with meta/ and loose_crop/, the folder above it, or its meta/.

    Raises InputError, naming what is missing, for a folder without a whole one, or with both.
    """
    if not folder.is_dir():
        message = f"expected the folder of IJB-B or IJB-C, with meta/ and loose_crop/, found none at {folder}"
        raise InputError(message)
    found = sorted(set(_places(folder, _DEPTH)))
    if len(found) != 1:
        expected = f"expected the lists of IJB-B or of IJB-C in {folder}, such as meta/ijbc_{_MEDIA}, found "
        several = ", ".join(f"{prefix}_* in {place}" for place, prefix in found)
        message = expected + (f"{several}; name the folder of one of them" if found else "none")
        raise InputError(message)
    ((place, prefix),) = found
    return _files(place, prefix)


def _places(folder: Path, depth: int, *, asked_for: bool = True) -> Iterator[tuple[Path, str]]:
    """The folders, down to `depth`, and the prefixes of the lists in them.

    Raises InputError where the one that was `asked_for` cannot be read; others are passed by.
    """
    below: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                known = _KNOWN.fullmatch(entry.name)
                if known:
                    yield folder, known[1]
                elif entry.name != _CROPS and len(below) < _MOST_FOLDERS and entry.is_dir():
                    below.append(folder / entry.name)
    except OSError as error:
        if asked_for:
            message = f"expected a folder to read at {folder}, found: {error.strerror or error}"
            raise InputError(message) from error
    if depth:
        for path in below:
            yield from _places(path, depth - 1, asked_for=False)


def _files(place: Path, prefix: str) -> IjbFiles:
    paths = {name: place / f"{prefix}_{name}" for name in _NAMES}
    there = {name for name, path in paths.items() if os.path.exists(path)}  # noqa: PTH110 (a Path may raise)
    crops = next((path for path in (place.parent / _CROPS, place / _CROPS) if os.path.isdir(path)), None)  # noqa: PTH112
    galleries = next((names for names in _GALLERIES.values() if there & set(names)), _GALLERIES[prefix])
    search = (*galleries, _PROBES)
    missing = [str(paths[name]) for name in (_MEDIA, _LANDMARKS) if name not in there]
    if there & set(search):
        missing += [str(paths[name]) for name in search if name not in there]
    elif _PAIRS not in there:
        missing.append(f"{paths[_PAIRS]} (1:1) and no {', '.join(str(paths[name]) for name in search)} (1:N)")
    name = f"IJB-{prefix[-1].upper()}"
    if missing or crops is None:
        missing += [] if crops else [str(place.parent / _CROPS)]
        message = f"expected the files of {name} in {place}, found no {', no '.join(missing)}"
        raise InputError(message)
    searched = _PROBES in there
    return IjbFiles(
        name=name,
        crops=crops,
        media=paths[_MEDIA],
        landmarks=paths[_LANDMARKS],
        pairs=paths[_PAIRS] if _PAIRS in there else None,
        galleries=tuple(paths[gallery] for gallery in galleries) if searched else (),
        probes=paths[_PROBES] if searched else None,
    )
