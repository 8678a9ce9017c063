"""efq-embed: embeddings of image files, into an .npz file."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.runtime.embed_command")

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

import click

from efq.runtime.backends.open import BACKENDS
from efq.runtime.backends.target import AUTOMATIC
from efq.runtime.bulk.listing.sources import Sources
from efq.runtime.bulk.run import BulkSettings, embed_in_bulk, runs_on_cpu
from efq.runtime.commands.options import BATCH, DEVICE, PATH, TEXT, THREADS, refuse_unused
from efq.runtime.console import efq_command, progress
from efq.runtime.detection.detector import Detector
from efq.runtime.detection.photo_faces import TAKES, PhotoReader, Take
from efq.runtime.embedder import Embedder
from efq.runtime.errors import UsageError
from efq.runtime.faces.aligner import Aligner
from efq.runtime.faces.images import read_face
from efq.runtime.files import refuse_inputs, reserved
from efq.runtime.gallery.embed_files import ReadFace, embed_files, expand, holds
from efq.runtime.gallery.embed_output import is_replaceable, people_of, write_output
from efq.runtime.gallery.models import model_of

_SHARD, _MOST_IN_SHARD = 100_000, 1_000_000
_NO_ENGINE = "on a CPU, where there is no engine"


@click.command()
@click.argument("directory", type=PATH)
@click.argument("images", nargs=-1, type=PATH)
@click.option(
    "-o",
    "--output",
    required=True,
    type=PATH,
    help="File to write: `embeddings` float32 (N, d), of unit length, and `paths` (N); with people, of one folder of a "
    "folder per person, a gallery for efq-migrate. Replaces an older one.",
)
@click.option(
    "--landmarks",
    type=PATH,
    help="CSV of path,x1,y1,...,x5,y5 in pixels, or with columns as its first row names them: align every image by "
    "its five landmarks.",
)
@click.option(
    "--detector",
    "detector_file",
    type=PATH,
    help="Face detector, SCRFD or YuNet (ONNX): find the largest face of every photo. efq-align writes all of them.",
)
@click.option(
    "--exif-orientation/--no-exif-orientation",
    default=None,
    help="Turn images as their EXIF record says, which landmarks are then of, or not.  [default: turn them, and refuse "
    "landmarks that seem to be of the image as stored]",
)
@click.option(
    "--skip-unreadable",
    is_flag=True,
    help="Name images that cannot be read, are damaged or hold no picture (with --detector no face), and go on without "
    "them.",
)
@click.option(
    "--threads", type=THREADS, help="Worker threads, with --parquet processes.  [default: every CPU; with --ray one]"
)
@click.option("--device", type=DEVICE, help="cpu, cuda or cuda:N.  [default: that of the artifact's target]")
@click.option(
    "--backend",
    type=TEXT,
    default=AUTOMATIC,
    show_default=True,
    help="On the CPU: auto, onnxruntime, openvino or native.",
)
@click.option("--rebuild", is_flag=True, help="TensorRT: build the engine again where it does not fit this machine.")
@click.option("--batch", type=BATCH, default=32, show_default=True, help="Images embedded at once.")
@click.option(
    "--parquet",
    is_flag=True,
    help="For millions of images: write a folder of Parquet files, and failures.csv of the images that gave no face.",
)
@click.option(
    "--list",
    "list_file",
    type=PATH,
    help="With --parquet, instead of IMAGES: a file of a path a line, or CSV with a row of names: path, person, and x1 "
    "to y5 for faces that are to be aligned.",
)
@click.option("--resume", is_flag=True, help="With --parquet: go on with a run that was interrupted, if there is one.")
@click.option(
    "--shard",
    "shard_images",
    type=click.IntRange(1, _MOST_IN_SHARD),
    default=_SHARD,
    show_default=True,
    help="With --parquet: images of a file.",
)
@click.option(
    "--take",
    type=click.Choice(TAKES),
    default="largest",
    show_default=True,
    help="With --parquet and --detector: faces of a photo, the largest, its single one (those of several fail) or all.",
)
@click.option(
    "--ray",
    type=TEXT,
    help="With --parquet: embed on a Ray cluster, HOST:PORT, auto for one that runs here, local for one of this run.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@efq_command
def main(
    directory: Path,
    images: tuple[Path, ...],
    output: Path,
    landmarks: Path | None,
    detector_file: Path | None,
    exif_orientation: bool | None,
    skip_unreadable: bool,
    threads: int | None,
    device: str | None,
    backend: str,
    rebuild: bool,
    batch: int,
    parquet: bool,
    list_file: Path | None,
    resume: bool,
    shard_images: int,
    take: Take,
    ray: str | None,
    as_json: bool,
) -> None:
    """Embed IMAGES, files or folders of faces, with the artifact in DIRECTORY.

    Without --landmarks or --detector every image has to be an aligned face of the artifact's size (112x112, or as it
    says).
    """
    if parquet:
        refuse_unused(
            ("landmarks", "skip_unreadable"), "with --parquet: --list has landmarks, failures.csv what failed"
        )
        if detector_file is None:
            refuse_unused(("take",), "without --detector")
        _check_images(images, list_file)
        settings = BulkSettings(
            artifact=directory,
            sources=Sources(images=images, list_file=list_file),
            output=output,
            detector=detector_file,
            take=take,
            exif_orientation=exif_orientation,
            device=device,
            backend=backend,
            rebuild=rebuild,
            threads=threads,
            batch=batch,
            shard_images=shard_images,
            resume=resume,
            ray=ray,
        )
        summary = _embed_in_bulk(settings)
    else:
        refuse_unused(("list_file", "resume", "shard_images", "take", "ray"), "without --parquet")
        if detector_file is not None:
            refuse_unused(("landmarks",), "with --detector, which finds them")
        _check_images(images, None)
        summary = _embed_at_once(
            directory,
            images,
            output,
            landmarks=landmarks,
            detector_file=detector_file,
            exif_orientation=exif_orientation,
            skip_unreadable=skip_unreadable,
            batch=batch,
            open_embedder=functools.partial(
                Embedder.open, directory, device, threads, backend=backend, rebuild=rebuild, progress=progress
            ),
            threads=threads,
        )
    click.echo(json.dumps(summary) if as_json else (_bulk_sentence if parquet else _sentence)(summary))


def _embed_at_once(
    directory: Path,
    images: tuple[Path, ...],
    output: Path,
    *,
    landmarks: Path | None,
    detector_file: Path | None,
    exif_orientation: bool | None,
    skip_unreadable: bool,
    batch: int,
    open_embedder: Callable[[], Embedder],
    threads: int | None,
) -> dict[str, object]:
    refuse_inputs(output, {"the artifact": directory, "the landmarks": landmarks, "the detector": detector_file})
    if holds(output.exists):
        refuse_inputs(output, {f"the image {path}": path for path in images})
    replace = is_replaceable(output)
    click.get_current_context().with_resource(reserved(output, replace=replace))
    with open_embedder() as embedder:
        if embedder.backend in BACKENDS:
            refuse_unused(("rebuild",), _NO_ENGINE)
        turn = exif_orientation is not False
        aligner = Aligner(landmarks, embedder.contract, exif_orientation) if landmarks else None
        read: ReadFace = aligner or functools.partial(read_face, contract=embedder.contract, exif_orientation=turn)
        if detector_file is not None:
            detector = click.get_current_context().with_resource(Detector.open(detector_file, threads=threads))
            read = PhotoReader(detector=detector, contract=embedder.contract, exif_orientation=turn).face
        paths = expand(images, skip_unreadable=skip_unreadable)
        start = time.monotonic()
        embedded = embed_files(embedder, paths, read, batch=batch, skip_unreadable=skip_unreadable, progress=progress)
        if aligner:
            aligner.check_all()
        seconds = time.monotonic() - start
    people = people_of(images, embedded.paths)
    write_output(
        output,
        embedded.embeddings,
        embedded.paths,
        model_of(embedder.artifact),
        people,
        are_crops=not (landmarks or detector_file),
        replace=replace,
    )
    return {
        "output": str(output),
        "model": embedder.manifest.name,
        "backend": embedder.backend,
        "images": len(embedded.paths),
        "people": None if people is None else len(set(people)),
        "embedding_size": embedder.embedding_size,
        "skipped": [str(path) for path in embedded.skipped],
        "seconds": round(seconds, 3),
    }


def _check_images(images: tuple[Path, ...], list_file: Path | None) -> None:
    """Raise UsageError unless there are images, or a list of them and not both."""
    if bool(images) == (list_file is not None):
        found = "IMAGES and --list" if images else "none"
        message = f"expected IMAGES, files or folders, or with --parquet a --list of them, found {found}"
        raise UsageError(message)


def _embed_in_bulk(settings: BulkSettings) -> dict[str, object]:
    inputs = {
        "the artifact": settings.artifact,
        "the detector": settings.detector,
        "the list": settings.sources.list_file,
    }
    refuse_inputs(settings.output, inputs | {f"the image {path}": path for path in settings.sources.images})
    if runs_on_cpu(settings):
        refuse_unused(("rebuild",), _NO_ENGINE)
    start = time.monotonic()
    found = embed_in_bulk(settings, progress=progress)
    record, outcome = found.record, found.outcome
    return {
        "output": str(settings.output),
        "model": record.model.name,
        "backend": record.options.backend,
        "images": outcome.images,
        "resumed": found.resumed,
        "faces": outcome.faces,
        "failed": outcome.failed,
        "shards": len(record.shards),
        "embedding_size": record.model.embedding_size,
        "seconds": round(time.monotonic() - start, 3),
    }


def _bulk_sentence(summary: dict[str, object]) -> str:
    failed = f", none of {summary['failed']} of them (failures.csv says why)" if summary["failed"] else ""
    faces, size, images = summary["faces"], summary["embedding_size"], summary["images"]
    place = f"{summary['output']}: {faces} embeddings of size {size} of {images} images"
    return f"{place} in {summary['shards']} files by {summary['backend']}{failed}"


def _sentence(summary: dict[str, object]) -> str:
    skipped = summary["skipped"]
    ending = f", {len(skipped)} skipped" if isinstance(skipped, list) and skipped else ""
    count, size = summary["images"], summary["embedding_size"]
    return f"{summary['output']}: {count} embeddings of size {size} by {summary['backend']}{ending}"
