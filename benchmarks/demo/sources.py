"""Where the demo's faces and teacher come from: drawn and trained here, or real ones from a folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from efq.benchmarks.demo.teacher import BACKBONE, TeacherSettings, train_teacher
from efq.benchmarks.drawn_faces.dataset import DEV_LISTING, DEV_PAIRS, TRAIN_LISTING, DatasetSize, draw_dataset
from efq.runtime.errors import InputError
from efq.runtime.files import atomic_write_text
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data import open_faces

REAL_FILES = ("splits/train.txt", "splits/dev_lfw_pairs.txt", "weights/mobilefacenet_y1.pt")
PAIR_STRIDE = 3


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Faces under `root` with listings of disjoint identities, a pairs file, and a teacher made for such faces.

    `drawn` tells whether the faces are drawn; `teacher_losses` are by step, none for a teacher not trained here.
    """

    drawn: bool
    root: Path
    train: Path
    dev: Path
    pairs: Path
    teacher: Path
    backbone: str | None
    teacher_losses: tuple[float, ...] = ()


def draw_source(folder: Path, size: DatasetSize, *, seed: int, progress: ShowProgress = no_progress) -> Source:
    """Draw the faces into `folder`/faces; the teacher is not there yet (see `with_teacher`)."""
    root = folder / "faces"
    draw_dataset(root, size, seed=seed, progress=progress)
    return Source(
        drawn=True,
        root=root,
        train=root / TRAIN_LISTING,
        dev=root / DEV_LISTING,
        pairs=root / DEV_PAIRS,
        teacher=folder / "teacher.pt",
        backbone=BACKBONE,
    )


def with_teacher(
    source: Source, settings: TeacherSettings, *, seed: int, progress: ShowProgress = no_progress
) -> Source:
    """Train the teacher on the training faces of a drawn source."""
    faces = open_faces(source.root, listing=source.train, cache=False, progress=progress)
    losses = train_teacher(faces, source.teacher, settings, seed=seed, progress=progress)
    return dataclasses.replace(source, teacher_losses=tuple(losses))


def real_source(root: Path, folder: Path) -> Source:
    """The training faces and the MobileFaceNet under `root`; of its development faces every third pair and the images
    in these, which are enough for a demo, listed in `folder`.

    Raises InputError when one of REAL_FILES is not there.
    """
    train, pairs, teacher = (root / name for name in REAL_FILES)
    for path in (train, pairs, teacher):
        if not path.is_file():
            message = f"expected faces and their teacher in EFQ_FACES, found no {path}; unset EFQ_FACES to draw faces"
            raise InputError(message)
    lines = pairs.read_text(encoding="utf-8").splitlines()[::PAIR_STRIDE]
    images = sorted({path for line in lines for path in line.split("\t")[:2]})
    atomic_write_text(folder / DEV_PAIRS, "".join(f"{line}\n" for line in lines))
    atomic_write_text(folder / DEV_LISTING, "".join(f"{image}\n" for image in images))
    return Source(
        drawn=False,
        root=root,
        train=train,
        dev=folder / DEV_LISTING,
        pairs=folder / DEV_PAIRS,
        teacher=teacher,
        backbone=None,
    )
