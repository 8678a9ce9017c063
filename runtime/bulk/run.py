"""A run of many images from its beginning, or from where it was interrupted, to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from efq.runtime.artifact.folder import Artifact
from efq.runtime.backends.model import thread_count
from efq.runtime.backends.open import BACKENDS
from efq.runtime.backends.target import AUTOMATIC
from efq.runtime.bulk.folder import BulkFolder
from efq.runtime.bulk.listing.sources import Sources
from efq.runtime.bulk.parquet import import_pyarrow
from efq.runtime.bulk.record import BulkRecord, Options, Outcome
from efq.runtime.bulk.shards import embed_shards
from efq.runtime.bulk.workers.task import BulkTask
from efq.runtime.cleanup import undone_by_a_signal
from efq.runtime.detection.photo_faces import Take
from efq.runtime.embedder import Embedder
from efq.runtime.errors import InputError, UsageError
from efq.runtime.faces.templates import contract_points
from efq.runtime.gallery.models import model_of
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.reading import sha256_file
from efq.runtime.targets import find_target

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BulkSettings:
    """As the options of efq-embed. threads: None for every CPU. ray: None for this process, or a cluster's address."""

    artifact: Path
    sources: Sources
    output: Path
    detector: Path | None = None
    take: Take = "largest"
    exif_orientation: bool | None = None
    device: str | None = None
    backend: str = AUTOMATIC
    rebuild: bool = False
    threads: int | None = None
    batch: int = 32
    shard_images: int = 100_000
    resume: bool = False
    ray: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BulkSummary:
    """What came of a run; `resumed` images were there before."""

    record: BulkRecord
    outcome: Outcome
    resumed: int


def embed_in_bulk(settings: BulkSettings, *, progress: ShowProgress = no_progress) -> BulkSummary:
    """Embed all images of `settings.sources` into Parquet shards in `settings.output`.

    An image without a usable face is a row of failures.csv, and nothing else. A shard is whole or not there; with
    `resume` those that are there stay, and all files are in the end the bytes that they would be without interruption.

    Raises UsageError for an output that cannot be written, is held by another run, is unfinished and not to be resumed,
    or of other images, artifact or options; InputError for a list that cannot be read, and where no image gave a face;
    MissingDependencyError without pyarrow or Ray; and what opening and embedding raise.
    """
    import_pyarrow()
    if settings.ray is not None:
        from efq.runtime.bulk.ray_run import check_ray

        check_ray(settings.ray)
    folder = BulkFolder(settings.output)
    with folder.locked():
        record = _begun(settings, folder, progress)
        missing: list[int] = []
        if record.outcome is None:
            missing = [number for number in record.shards if folder.outcome_of(record, number) is None]
            _embed(settings, folder, record, missing, progress)
            record = dataclasses.replace(record, outcome=_total(folder, record))
            folder.finish(record)
        else:
            folder.check_finished(record)
            folder.forget_lists()
    assert record.outcome is not None
    if not record.outcome.faces:
        message = (
            f"expected faces in the {record.listing.images:,} images, found none that could be embedded; "
            f"{folder.failures} says why"
        )
        raise InputError(message)
    left = sum(map(record.images_in, missing))
    return BulkSummary(record=record, outcome=record.outcome, resumed=record.listing.images - left)


def runs_on_cpu(settings: BulkSettings) -> bool:
    """Whether the artifact computes on CPUs there. Raises what opening an artifact does."""
    device = settings.device or find_target(Artifact.open(settings.artifact).manifest.target).devices[0]
    return device == "cpu"


def _begun(settings: BulkSettings, folder: BulkFolder, progress: ShowProgress) -> BulkRecord:
    """The record of the run that is in the folder, or of one that begins now."""
    artifact = Artifact.open(settings.artifact)
    model, sources = model_of(artifact), settings.sources
    older = folder.record()
    if older is not None and not settings.resume:
        state = "an unfinished run: --resume goes on with it" if older.outcome is None else "those of a finished run"
        message = f"expected a new output, found embeddings in {folder.root}, {state}; choose another with -o"
        raise UsageError(message)
    options = Options(
        backend=_backend(settings, older),
        batch=settings.batch,
        detector=None if settings.detector is None else sha256_file(settings.detector, expected="a detector"),
        exif_orientation=settings.exif_orientation,
        shard_images=settings.shard_images,
        sources=sources.digest(),
        take=settings.take,
    )
    if older is not None:
        older.check_same(model, options)
        return older
    with undone_by_a_signal(folder.forget_lists), folder.listing():
        listing = sources.write_lists(folder, settings.shard_images, progress)
    record = BulkRecord(
        efq=importlib.metadata.version("efq"),
        model=model,
        input=artifact.manifest.input,
        options=options,
        listing=listing,
    )
    if listing.has_landmarks:
        if settings.detector is not None:
            message = "expected landmarks of the list or --detector, found both: leave one of them out"
            raise UsageError(message)
        contract_points(record.input)
    folder.begin(record)
    return record


def _backend(settings: BulkSettings, older: BulkRecord | None) -> str:
    """The backend of all shards: the one that is named, that of the run so far, or the one that is chosen here."""
    if settings.backend != AUTOMATIC or not runs_on_cpu(settings):
        return settings.backend
    if older is not None:
        return older.options.backend
    with Embedder.open(settings.artifact, settings.device, 1) as embedder:
        return embedder.backend if embedder.backend in BACKENDS else AUTOMATIC


def _embed(
    settings: BulkSettings,
    folder: BulkFolder,
    record: BulkRecord,
    shards: list[int],
    progress: ShowProgress,
) -> None:
    """Embed the shards that are not there."""
    if not shards:
        return
    left = sum(map(record.images_in, shards))
    if left < record.listing.images:
        _logger.info("%d of %d images are embedded already", record.listing.images - left, record.listing.images)
    task = BulkTask(
        artifact=settings.artifact.absolute(),
        device=settings.device,
        backend=record.options.backend,
        workers=min(thread_count(settings.threads), -(-left // record.options.batch)),
        in_processes=runs_on_cpu(settings),
        rebuild=settings.rebuild,
        detector=None if settings.detector is None else settings.detector.absolute(),
        take=settings.take,
        base=Path.cwd(),
        roots=tuple(Path.cwd() / settings.sources.images[place] for place in record.listing.folders),
        output=folder.root.absolute(),
        record=record,
    )
    run = _runner(settings)
    failed = 0
    with (
        undone_by_a_signal(_say_how_to_resume),
        _said_when_it_fails(folder),
        progress("embedding", left, "images") as shown,
    ):
        for outcome in run(task, shards, progress=progress):
            failed += outcome.failed
            shown.advance(outcome.images, **({"failed": str(failed)} if failed else {}))


def _runner(settings: BulkSettings) -> Callable[..., Iterator[Outcome]]:
    if settings.ray is None:
        return embed_shards
    from efq.runtime.bulk.ray_run import embed_on_ray

    return functools.partial(embed_on_ray, address=settings.ray, cpus=settings.threads or 1)


def _total(folder: BulkFolder, record: BulkRecord) -> Outcome:
    """Of all shards. Raises UsageError for one that is not there, or not what was written."""
    outcomes = [folder.outcome_of(record, number) for number in record.shards]
    whole = [outcome for outcome in outcomes if outcome is not None]
    if len(whole) < len(outcomes):
        path = folder.shard(outcomes.index(None))
        message = (
            f"expected every shard in {folder.root}, found none, or another one, at {path}: who embeds has to write "
            "into the folder that is read here, and nobody else; --resume embeds what is missing"
        )
        raise UsageError(message)
    return Outcome(
        images=record.listing.images,
        faces=sum(outcome.faces for outcome in whole),
        failed=sum(outcome.failed for outcome in whole),
    )


def _say_how_to_resume() -> None:
    os.write(2, b"finished shards stay; the same command with --resume goes on\n")


@contextlib.contextmanager
def _said_when_it_fails(folder: BulkFolder) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _logger.info("finished shards stay in %s; the same command with --resume goes on", folder.root)
        raise
