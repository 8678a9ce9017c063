"""Embed one shard after the other: its images by several workers, written in the order of the list."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Iterator, Sequence

from efq.runtime.bulk.folder import FAILURES_KEY, BulkFolder, shard_metadata
from efq.runtime.bulk.listing.listed import ListedImage, in_shards, read_shard_list
from efq.runtime.bulk.parquet import FaceFile, make_schema
from efq.runtime.bulk.record import Outcome
from efq.runtime.bulk.workers.part import Part
from efq.runtime.bulk.workers.pool import Submit, part_workers
from efq.runtime.bulk.workers.task import BulkTask, check_roots
from efq.runtime.faces.aligner import SeenLandmarks
from efq.runtime.progress import ShowProgress, no_progress

_AHEAD = 3  # parts for each worker that are embedded or wait to be written


def embed_shards(task: BulkTask, shards: Sequence[int], *, progress: ShowProgress = no_progress) -> Iterator[Outcome]:
    """Embed `shards` on this machine, one after the other; yields what came of each few images of them.

    Raises what embedding and writing do, and UsageError where the images are gone; an image that cannot be used is a
    row in the failures of its shard. Raises InputError where the landmarks of a shard are of other pictures.
    """
    with part_workers(task, progress=progress) as submit:
        for shard in shards:
            yield from embed_shard(task, submit, shard)


def embed_shard(task: BulkTask, submit: Submit, shard: int) -> Iterator[Outcome]:
    """Embed one shard by workers that are there, as `embed_shards` does."""
    record, folder = task.record, BulkFolder(task.output)
    images = read_shard_list(folder.list_of(shard), sha256=record.listing.sha256[shard])
    schema = make_schema(
        record.model.embedding_size,
        boxes=task.detector is not None,
        landmarks=task.detector is not None or record.listing.has_landmarks,
        metadata=shard_metadata(record, shard),
    )
    failures: list[tuple[str, str]] = []
    seen = SeenLandmarks()
    check_roots(task)
    with FaceFile.written(folder.shard(shard), schema) as file:
        for part in _parts(task, submit, images):
            file.add(part.rows, part.embeddings)
            failures += part.failures
            seen.add_all(part.seen)
            yield Outcome(images=part.images, faces=len(part.rows), failed=len(part.failures))
        check_roots(task)
        if record.listing.has_landmarks:
            seen.check("the list", exif_orientation=record.options.exif_orientation)
        file.note(FAILURES_KEY, folder.write_failures(shard, failures))


def _parts(task: BulkTask, submit: Submit, images: Sequence[ListedImage]) -> Iterator[Part]:
    """What the images gave, in their order, a part of `batch` images after the other."""
    waiting: collections.deque[concurrent.futures.Future[Part]] = collections.deque()
    for part in in_shards(images, task.record.options.batch):
        waiting.append(submit(part))
        if len(waiting) >= _AHEAD * task.workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
