"""IJB-B or IJB-C as its lists describe it: the images of each template, and who is compared with whom."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.faces.landmark_fit import LARGEST_RESIDUAL, check_order, residual
from efq.runtime.reading import sha256_file
from efq.toolchain.evaluation.protocols.ijb.integers import LIMIT, read_integers
from efq.toolchain.evaluation.protocols.ijb.layout import IjbFiles, find_ijb
from efq.toolchain.evaluation.protocols.ijb.lists import read_landmarks, read_media, read_subjects
from efq.toolchain.evaluation.protocols.validity import ENOUGH_PAIRS

_MOST_ODD = 0.5  # of the landmarks: more say that they are in another order, not that detections failed
_NAMED = 5

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TemplatePairs:
    """P pairs of the 1:1 protocol. first, second: (P,) int32, places of templates; same: (P,) bool, of one subject."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    same: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.same)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Subjects:
    """K templates of a gallery or of probes, and who is in each. templates: (K,) int64 places; subjects: (K,) int64."""

    name: str
    templates: NDArray[np.int64]
    subjects: NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class IjbBenchmark:
    """T templates of R images in all, ordered by template and media.

    folder: that was named; files: where its files are. sha256: one hash of all lists.
    template_ids: (T,) int64, ascending, the numbers in the lists.
    names: of the image files (R), below `files.crops`. points: (R, 5, 2) float32, landmarks in pixels; scores: (R,)
    float32, the detector's. templates: (R,) int64, the place of each image's template; medias: (R,) int64, the number
    of the photo or video it is of. odd_landmarks: images whose landmarks are further from a face's than
    `LARGEST_RESIDUAL`. pairs: None without a 1:1 protocol; galleries, probes: () and None without a 1:N protocol.
    """

    folder: Path
    files: IjbFiles
    sha256: str
    template_ids: NDArray[np.int64]
    names: tuple[str, ...]
    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    templates: NDArray[np.int64]
    medias: NDArray[np.int64]
    odd_landmarks: int
    pairs: TemplatePairs | None
    galleries: tuple[Subjects, ...]
    probes: Subjects | None

    def __len__(self) -> int:
        return len(self.names)


def read_ijb(folder: Path) -> IjbBenchmark:
    """Read the lists of the benchmark in `folder` (`find_ijb`); no image is opened.

    Raises InputError for lists that are missing or not of their form, or do not fit together: an image without
    landmarks, a template without images, a pair of a template and itself or said to be both of one subject and of
    two, fewer than ten pairs of a kind, a template that is in a gallery and a probe, landmarks in another order.
    """
    files = find_ijb(folder)
    media, landmarks = read_media(files.media), read_landmarks(files.landmarks)
    unknown = [name for name in media.names if name not in landmarks.places]
    if unknown:
        message = (
            f"expected landmarks of every image of {files.media} in {files.landmarks}, found none of {len(unknown)}, "
            f"first {', '.join(unknown[:_NAMED])}"
        )
        raise InputError(message)
    odd = residual(landmarks.points.astype(np.float64)) > LARGEST_RESIDUAL
    _check_order(files.landmarks, landmarks.points, odd)
    places = np.array([landmarks.places[name] for name in media.names], np.int64)
    template_ids, templates = np.unique(media.templates, return_inverse=True)
    order = np.lexsort((media.medias, templates))
    galleries = tuple(_read_subjects(path, files.media, template_ids) for path in files.galleries)
    probes = None if files.probes is None else _read_subjects(files.probes, files.media, template_ids)
    _check_search(galleries, probes, template_ids)
    found = IjbBenchmark(
        folder=folder,
        files=files,
        sha256=_digest(files),
        template_ids=template_ids,
        names=tuple(media.names[place] for place in order),
        points=landmarks.points[places[order]],
        scores=landmarks.scores[places[order]],
        templates=templates[order].astype(np.int64),
        medias=media.medias[order],
        odd_landmarks=int(odd[places].sum()),
        pairs=None if files.pairs is None else _read_pairs(files.pairs, files.media, template_ids),
        galleries=galleries,
        probes=probes,
    )
    _logger.info("%s in %s: %s", files.name, folder, _described(found))
    return found


def _described(found: IjbBenchmark) -> str:
    parts = [f"{len(found):,} images in {len(found.template_ids):,} templates"]
    parts += ["no 1:1 protocol" if found.pairs is None else f"{len(found.pairs):,} pairs"]
    parts += [f"{gallery.name} of {len(gallery.templates):,}" for gallery in found.galleries] or ["no 1:N protocol"]
    return ", ".join(parts if found.probes is None else [*parts, f"{len(found.probes.templates):,} probes"])


def _digest(files: IjbFiles) -> str:
    """SHA-256 of those of the lists, one a line, in the order of `IjbFiles.lists`."""
    hashes = [sha256_file(path, expected="a list of the benchmark", limit=LIMIT) for path in files.lists]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _check_order(path: Path, points: NDArray[np.float32], odd: NDArray[np.bool_]) -> None:
    if odd.mean() <= _MOST_ODD:
        return
    try:
        check_order(points[int(np.argmax(odd))].astype(np.float64))
    except InputError as error:
        message = f"{int(odd.sum())} of {len(odd)} landmarks in {path} are no face's: {error}"
        raise InputError(message) from error


def _read_pairs(path: Path, media: Path, template_ids: NDArray[np.int64]) -> TemplatePairs:
    expected = "lines `template template label`, whole numbers, the label 1 for one subject and 0 for two"
    rows = read_integers(path, 3, expected)
    strange = np.flatnonzero((rows[:, 2] > 1) | (rows[:, 0] == rows[:, 1]))
    if len(strange):
        found = " ".join(map(str, rows[strange[0]]))
        message = f"expected {expected} in {path}, two templates a line, found {found!r} ({len(strange)} such lines)"
        raise InputError(message)
    first, second = (_places(rows[:, column], path, media, template_ids) for column in (0, 1))
    same = rows[:, 2] == 1
    _check_labels(path, first, second, same, template_ids)
    return TemplatePairs(first=first.astype(np.int32), second=second.astype(np.int32), same=same)


def _check_labels(
    path: Path,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    same: NDArray[np.bool_],
    template_ids: NDArray[np.int64],
) -> None:
    count = len(template_ids)
    keys = np.minimum(first, second) * count + np.maximum(first, second)
    genuine, impostor = np.unique(keys[same]), np.unique(keys[~same])
    both = np.intersect1d(genuine, impostor, assume_unique=True)
    if len(both):
        pair = " and ".join(str(template_ids[place]) for place in divmod(int(both[0]), count))
        message = f"expected each pair in {path} of one subject or of two, found templates {pair} as both"
        raise InputError(message)
    if min(len(genuine), len(impostor)) < ENOUGH_PAIRS:
        message = (
            f"expected at least {ENOUGH_PAIRS} genuine and {ENOUGH_PAIRS} impostor pairs in {path}, found "
            f"{len(genuine)} and {len(impostor)}: rates of so few say nothing"
        )
        raise InputError(message)
    repeated = len(keys) - len(genuine) - len(impostor)
    if repeated:
        _logger.warning("%s has %d pairs more than once, and they count as often", path, repeated)


def _read_subjects(path: Path, media: Path, template_ids: NDArray[np.int64]) -> Subjects:
    found = read_subjects(path)
    numbers = np.array(list(found), np.int64)
    return Subjects(
        name=path.stem.rpartition("_1N_")[2].replace("_", " "),
        templates=_places(numbers, path, media, template_ids),
        subjects=np.array(list(found.values()), np.int64),
    )


def _check_search(galleries: Sequence[Subjects], probes: Subjects | None, template_ids: NDArray[np.int64]) -> None:
    if probes is None:
        return
    for gallery in galleries:
        both = np.intersect1d(gallery.templates, probes.templates)
        if len(both):
            message = (
                f"expected other templates in {gallery.name} than in {probes.name}, found {len(both)} in both, first "
                f"{template_ids[both[0]]}"
            )
            raise InputError(message)
        mated = int(np.isin(probes.subjects, gallery.subjects).sum())
        if mated < ENOUGH_PAIRS:
            message = (
                f"expected at least {ENOUGH_PAIRS} {probes.name} templates of subjects in {gallery.name}, found {mated}"
            )
            raise InputError(message)


def _places(
    numbers: NDArray[np.integer], path: Path, media: Path, template_ids: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Where the templates `numbers` (K,) are in `template_ids`. Raises InputError for those that are not."""
    places = np.minimum(np.searchsorted(template_ids, numbers), len(template_ids) - 1)
    unknown = np.unique(numbers[template_ids[places] != numbers])
    if len(unknown):
        message = (
            f"expected templates of {media} in {path}, found {len(unknown)} without images, first "
            f"{', '.join(map(str, unknown[:_NAMED]))}"
        )
        raise InputError(message)
    return places
