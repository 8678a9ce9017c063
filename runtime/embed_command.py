"""efq-embed: embeddings of image files, into an .npz file."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.runtime.embed_command")

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from efq.runtime.backends.open import BACKENDS
from efq.runtime.backends.target import AUTOMATIC
from efq.runtime.commands.options import BATCH, DEVICE, PATH, TEXT, THREADS, refuse_unused
from efq.runtime.console import efq_command, log, progress
from efq.runtime.detection.detector import Detector
from efq.runtime.detection.photo_faces import PhotoReader
from efq.runtime.embedder import Embedder
from efq.runtime.errors import InputError, UnreadableImageError
from efq.runtime.faces.aligner import Aligner
from efq.runtime.faces.images import IMAGE_SUFFIXES, read_face
from efq.runtime.faces.pixels import check_pixels
from efq.runtime.faces.scan import scan_folder
from efq.runtime.files import refuse_inputs, reserved
from efq.runtime.gallery.embed_output import is_replaceable, people_of, write_output
from efq.runtime.gallery.models import model_of

ReadFace = Callable[[Path], NDArray[np.uint8]]


@click.command()
@click.argument("directory", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
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
    help="Name images that cannot be read, are damaged or hold no picture, and go on without them.",
)
@click.option("--threads", type=THREADS, help="Worker threads.  [default: every CPU]")
@click.option("--device", type=DEVICE, help="cpu, cuda or cuda:N.  [default: that of the artifact's target]")
@click.option(
    "--backend", type=TEXT, default=AUTOMATIC, show_default=True, help="On the CPU: auto, onnxruntime or openvino."
)
@click.option("--rebuild", is_flag=True, help="TensorRT: build the engine again where it does not fit this machine.")
@click.option("--batch", type=BATCH, default=32, show_default=True, help="Images embedded at once.")
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
    as_json: bool,
) -> None:
    """Embed IMAGES, files or folders of faces, with the artifact in DIRECTORY.

    Without --landmarks or --detector every image has to be an aligned face of the artifact's size (112x112, or as it
    says).
    """
    if detector_file is not None:
        refuse_unused(("landmarks",), "with --detector, which finds them")
    inputs = {"the artifact": directory, "the landmarks": landmarks, "the detector": detector_file}
    if _holds(output.exists):
        inputs |= {f"the image {path}": path for path in images}
    refuse_inputs(output, inputs)
    replace = is_replaceable(output)
    click.get_current_context().with_resource(reserved(output, replace=replace))
    with Embedder.open(directory, device, threads, backend=backend, rebuild=rebuild, progress=progress) as embedder:
        if embedder.backend in BACKENDS:
            refuse_unused(("rebuild",), f"in {embedder.backend}, which needs no engine")
        paths = _expand(images, skip_unreadable=skip_unreadable)
        aligner = Aligner(landmarks, embedder.contract, exif_orientation) if landmarks else None
        turn = exif_orientation is not False
        read: ReadFace = aligner or functools.partial(read_face, contract=embedder.contract, exif_orientation=turn)
        if detector_file is not None:
            detector = click.get_current_context().with_resource(Detector.open(detector_file, threads=threads))
            read = PhotoReader(detector=detector, contract=embedder.contract, exif_orientation=turn).face
        start = time.monotonic()
        embedded = _embed_files(embedder, paths, read, batch=batch, skip_unreadable=skip_unreadable)
        if aligner:
            aligner.check_all()
        seconds = time.monotonic() - start
    model = model_of(embedder.artifact)
    people = people_of(images, embedded.paths)
    write_output(
        output,
        embedded.embeddings,
        embedded.paths,
        model,
        people,
        are_crops=not (landmarks or detector_file),
        replace=replace,
    )
    summary = {
        "output": str(output),
        "model": embedder.manifest.name,
        "backend": embedder.backend,
        "images": len(embedded.paths),
        "people": None if people is None else len(set(people)),
        "embedding_size": embedder.embedding_size,
        "skipped": [str(path) for path in embedded.skipped],
        "seconds": round(seconds, 3),
    }
    click.echo(json.dumps(summary) if as_json else _sentence(summary))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Embedded:
    paths: Sequence[Path]
    embeddings: NDArray[np.float32]
    skipped: Sequence[Path]


def _expand(images: Sequence[Path], *, skip_unreadable: bool) -> list[Path]:
    """The image files named, those of folders sorted; what is left out of a folder is said.

    Raises InputError for a folder without images, and for one in which something cannot be read unless
    `skip_unreadable`.
    """
    paths: list[Path] = []
    for path in images:
        if not _holds(path.is_dir):
            paths.append(path)
            continue
        found = scan_folder(path)
        if found.left_out:
            log(f"left out of {path}: {found.left_out}")
        if found.not_readable and not skip_unreadable:
            message = (
                f"expected images and folders that can be read in {path}, found {len(found.not_readable)} that cannot, "
                f"first {found.not_readable[0]}; --skip-unreadable goes on without them"
            )
            raise InputError(message)
        if not found.images:
            message = f"expected images ({', '.join(IMAGE_SUFFIXES)}) in the folder {path}, found none"
            raise InputError(message)
        paths += [path / image for image in found.images]
    return paths


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # what cannot be looked at is named when it is read or written
        return False


def _with_picture(face: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """The face, which holds a picture. Raises UnreadableImageError."""
    try:
        check_pixels(face[None], [str(path)])
    except InputError as error:
        raise UnreadableImageError(*error.args) from error
    return face


def _embed_files(
    embedder: Embedder, paths: Sequence[Path], read: ReadFace, *, batch: int, skip_unreadable: bool
) -> _Embedded:
    """Embed every file; raises one InputError that names every image that cannot be used."""
    used: list[Path] = []
    skipped: list[Path] = []
    errors: list[InputError] = []
    parts: list[NDArray[np.float32]] = []
    with progress("embedding", len(paths), unit="images") as shown:
        for start in range(0, len(paths), batch):
            batch_paths = paths[start : start + batch]
            faces, failures = _read_batch(batch_paths, read)
            used += [path for path, _ in faces]
            for path, error in failures:
                if skip_unreadable and isinstance(error, UnreadableImageError):
                    log(f"skipped: {error}")
                    skipped.append(path)
                else:
                    errors.append(error)
            if faces and not errors:
                parts.append(embedder.embed(np.stack([face for _, face in faces])))
            shown.advance(len(batch_paths))
    _check_outcome(errors, used, total=len(paths))
    return _Embedded(paths=used, embeddings=np.concatenate(parts), skipped=skipped)


def _read_batch(
    paths: Sequence[Path], read: ReadFace
) -> tuple[list[tuple[Path, NDArray[np.uint8]]], list[tuple[Path, InputError]]]:
    faces: list[tuple[Path, NDArray[np.uint8]]] = []
    failures: list[tuple[Path, InputError]] = []
    for path in paths:
        try:
            faces.append((path, _with_picture(read(path), path)))
        except InputError as error:
            failures.append((path, error))
    return faces, failures


def _check_outcome(errors: Sequence[InputError], used: Sequence[Path], *, total: int) -> None:
    if errors:
        listed = "\n  ".join(str(error) for error in errors)
        message = (
            f"expected usable images, found {len(errors)} of {total} that are not (nothing was written; "
            f"--skip-unreadable goes on without those that cannot be read or hold no picture):\n  {listed}"
        )
        raise InputError(message)
    if not used:
        message = f"expected images that can be decoded, found none among {total}"
        raise InputError(message)


def _sentence(summary: dict[str, object]) -> str:
    skipped = summary["skipped"]
    ending = f", {len(skipped)} unreadable skipped" if isinstance(skipped, list) and skipped else ""
    count, size = summary["images"], summary["embedding_size"]
    return f"{summary['output']}: {count} embeddings of size {size} by {summary['backend']}{ending}"
