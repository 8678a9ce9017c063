"""A folder of drawn faces with a training and a development split, laid out as any folder of faces is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from efq.benchmarks.drawn_faces.identity import Identity, random_identity
from efq.benchmarks.drawn_faces.renderer import draw_face
from efq.benchmarks.drawn_faces.view import random_view
from efq.runtime.errors import UsageError
from efq.runtime.files import atomic_write_text
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.evaluation.figures.rates import FOLDS

TRAIN_LISTING = Path("splits/train.txt")
DEV_LISTING = Path("splits/dev.txt")
DEV_PAIRS = Path("splits/dev_pairs.txt")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSize:
    """How much is drawn. Every fold of the pairs file has its own development identities, two at least."""

    train_identities: int = 240
    dev_identities: int = 100
    views: int = 12
    pairs_per_fold: int = 300

    def __post_init__(self) -> None:
        if self.train_identities < 1 or self.dev_identities < 2 * FOLDS or self.views < 2:
            message = (
                f"expected at least 1 training identity, {2 * FOLDS} development identities and 2 views of each, "
                f"found {self.train_identities}, {self.dev_identities} and {self.views}"
            )
            raise UsageError(message)


def draw_dataset(folder: Path, size: DatasetSize, *, seed: int, progress: ShowProgress = no_progress) -> None:
    """Draw faces into `folder`/<identity>/<view>.jpg and write the splits of identities and the pairs beside them.

    The listings hold one path a line, relative to `folder`; the pairs `path <tab> path <tab> same (1 or 0) <tab> fold`.
    The same seed gives the same files.
    """
    listings: dict[Path, list[list[str]]] = {TRAIN_LISTING: [], DEV_LISTING: []}
    count = size.train_identities + size.dev_identities
    with progress("faces", count * size.views, "faces") as bar:
        for index in range(count):
            listing = TRAIN_LISTING if index < size.train_identities else DEV_LISTING
            listings[listing].append(_draw_identity(folder, index, size.views, seed))
            bar.advance(size.views)
    for listing, identities in listings.items():
        atomic_write_text(folder / listing, "".join(f"{path}\n" for paths in identities for path in paths))
    pairs = verification_pairs(listings[DEV_LISTING], size.pairs_per_fold, seed=seed)
    atomic_write_text(folder / DEV_PAIRS, "".join(f"{one}\t{two}\t{same}\t{fold}\n" for one, two, same, fold in pairs))


def identity_of(index: int, *, seed: int) -> tuple[Identity, np.random.Generator]:
    """Identity number `index` of a dataset, and the generator its views are drawn from."""
    generator = np.random.default_rng((seed, index))
    return random_identity(generator), generator


def verification_pairs(identities: list[list[str]], per_fold: int, *, seed: int) -> list[tuple[str, str, int, int]]:
    """Up to `per_fold` pairs in each of ten folds of disjoint identities, half genuine and half impostor.

    No pair comes twice. `identities`: the paths of each identity's images. Returns (path, path, same, fold).
    """
    generator = np.random.default_rng((seed, len(identities)))
    order = generator.permutation(len(identities))
    pairs: list[tuple[str, str, int, int]] = []
    for fold in range(FOLDS):
        members = [identities[index] for index in order[fold::FOLDS]]
        images = [(path, number) for number, paths in enumerate(members) for path in paths]
        both = [(a[0], b[0], int(a[1] == b[1])) for i, a in enumerate(images) for b in images[i + 1 :]]
        for same in (1, 0):
            kind = [pair for pair in both if pair[2] == same]
            chosen = generator.permutation(len(kind))[: per_fold // 2]
            pairs += [(*kind[index], fold) for index in sorted(chosen)]
    return pairs


def _draw_identity(folder: Path, index: int, views: int, seed: int) -> list[str]:
    identity, generator = identity_of(index, seed=seed)
    name = f"person{index:04d}"
    (folder / name).mkdir(parents=True)
    paths = []
    for number in range(views):
        face = draw_face(identity, random_view(generator))
        _, encoded = cv2.imencode(".jpg", face[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        paths.append(f"{name}/{number:02d}.jpg")
        (folder / paths[-1]).write_bytes(encoded.tobytes())
    return paths
