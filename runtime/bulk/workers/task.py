"""What a process needs to embed shards of a run: plain values, which can be sent to another machine."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from efq.runtime.artifact.folder import MODEL_FILE
from efq.runtime.bulk.record import BulkRecord
from efq.runtime.bulk.workers.faces import FaceReader
from efq.runtime.detection.detector import Detector
from efq.runtime.detection.photo_faces import PhotoReader, Take
from efq.runtime.embedder import Embedder
from efq.runtime.errors import ChecksumError, UsageError
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.reading import sha256_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class BulkTask:
    """All paths are absolute; base is the folder that paths of images start at.

    workers: how many images are read and embedded at once; in_processes: each in a process with a model of its own.
    roots: the folders that images are looked for in, which are there for as long as the run is.
    """

    artifact: Path
    device: str | None
    backend: str
    workers: int
    in_processes: bool
    rebuild: bool
    detector: Path | None
    take: Take
    base: Path
    roots: tuple[Path, ...]
    output: Path
    record: BulkRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenTask:
    """A task with its models open."""

    task: BulkTask
    embedder: Embedder
    read: FaceReader


@contextlib.contextmanager
def open_task(task: BulkTask, *, progress: ShowProgress = no_progress) -> Iterator[OpenTask]:
    """Open artifact and detector. Raises what opening them does, and ChecksumError where they are not the run's."""
    record = task.record
    with contextlib.ExitStack() as stack:
        # Each worker computes its images by itself: none waits for another one's share.
        embedder = stack.enter_context(
            Embedder.open(task.artifact, task.device, 1, backend=task.backend, rebuild=task.rebuild, progress=progress)
        )
        found = embedder.artifact.checksums[MODEL_FILE]
        if found != record.model.sha256:
            message = f"expected the model of the run, SHA-256 {record.model.sha256}, in {task.artifact}, found {found}"
            raise ChecksumError(message)
        photos = None
        if task.detector is not None:
            digest = sha256_file(task.detector, expected="a detector")
            if digest != record.options.detector:
                message = f"expected the detector of the run at {task.detector}, found another: SHA-256 {digest}"
                raise ChecksumError(message)
            photos = PhotoReader(
                detector=stack.enter_context(Detector.open(task.detector, threads=1)),
                contract=embedder.contract,
                take=task.take,
                exif_orientation=record.options.exif_orientation is not False,
            )
        read = FaceReader(
            contract=embedder.contract,
            base=task.base,
            has_people=record.listing.has_people,
            photos=photos,
            exif_orientation=record.options.exif_orientation,
        )
        yield OpenTask(task=task, embedder=embedder, read=read)


def check_roots(task: BulkTask) -> None:
    """Raise UsageError where a folder of images is no longer there: what is in it would count as images that fail."""
    gone = [root for root in task.roots if not _is_there(root)]
    if gone:
        message = (
            f"expected the folder of images {gone[0]}, found none any more (or it cannot be read); when it is there "
            "again --resume goes on"
        )
        raise UsageError(message)


def _is_there(root: Path) -> bool:
    try:
        return root.is_dir()
    except OSError:
        return False
