"""efq-embed: embeddings of image files, into an .npz file."""

from __future__ import annotations

import dataclasses
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.backends.target import AUTOMATIC
from efq.runtime.console import efq_command, log, progress
from efq.runtime.embedder import Embedder
from efq.runtime.errors import InputError, UnreadableImageError, UsageError
from efq.runtime.faces.alignment import align
from efq.runtime.faces.images import IMAGE_SUFFIXES, find_images, read_face, read_image
from efq.runtime.faces.landmarks import read_landmarks
from efq.runtime.files import atomic_write_bytes

ReadFace = Callable[[Path], NDArray[np.uint8]]


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File to write: `embeddings` float32 (N, d), of unit length, and `paths` (N).",
)
@click.option(
    "--landmarks",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV of path,x1,y1,...,x5,y5 in pixels: align every image by its five landmarks.",
)
@click.option("--skip-unreadable", is_flag=True, help="Name images that cannot be decoded and go on without them.")
@click.option("--threads", type=click.IntRange(min=1), help="Worker threads.  [default: every CPU]")
@click.option("--device", help="cpu, cuda or cuda:N.  [default: that of the artifact's target]")
@click.option("--backend", default=AUTOMATIC, show_default=True, help="On the CPU: auto, onnxruntime or openvino.")
@click.option("--rebuild", is_flag=True, help="TensorRT: build the engine again where it does not fit this machine.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Images embedded at once.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@efq_command
def main(
    directory: Path,
    images: tuple[Path, ...],
    output: Path,
    landmarks: Path | None,
    skip_unreadable: bool,
    threads: int | None,
    device: str | None,
    backend: str,
    rebuild: bool,
    batch: int,
    as_json: bool,
) -> None:
    """Embed IMAGES, files or folders of faces, with the artifact in DIRECTORY.

    Without --landmarks every image has to be an aligned face of the artifact's size (112x112).
    """
    with Embedder.open(directory, device, threads, backend=backend, rebuild=rebuild, progress=progress) as embedder:
        paths = _expand(images)
        read = _face_reader(embedder.contract, landmarks)
        start = time.monotonic()
        embedded = _embed_files(embedder, paths, read, batch=batch, skip_unreadable=skip_unreadable)
        seconds = time.monotonic() - start
    _write(output, embedded)
    summary = {
        "output": str(output),
        "model": embedder.manifest.name,
        "backend": embedder.backend,
        "images": len(embedded.paths),
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


def _expand(images: Sequence[Path]) -> list[Path]:
    """The image files named, those of folders sorted. Raises InputError for a folder without images."""
    paths: list[Path] = []
    for path in images:
        found = find_images(path) if path.is_dir() else [path]
        if not found:
            message = f"expected images ({', '.join(IMAGE_SUFFIXES)}) in the folder {path}, found none"
            raise InputError(message)
        paths += found
    return paths


def _face_reader(contract: InputContract, landmarks_file: Path | None) -> ReadFace:
    if landmarks_file is None:
        return lambda path: read_face(path, contract)
    if contract != InputContract():
        message = f"expected an artifact for faces aligned as {InputContract()} with --landmarks, found {contract}"
        raise UsageError(message)
    landmarks = read_landmarks(landmarks_file)

    def read_aligned(path: Path) -> NDArray[np.uint8]:
        points = landmarks.get(path.resolve())
        if points is None:
            message = f"expected the landmarks of {path} in {landmarks_file}, found none; add a row for it"
            raise InputError(message)
        image = read_image(path)
        try:
            return align(image, points)
        except InputError as error:
            message = f"{path}: {error}"
            raise InputError(message) from error

    return read_aligned


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
            faces.append((path, read(path)))
        except InputError as error:
            failures.append((path, error))
    return faces, failures


def _check_outcome(errors: Sequence[InputError], used: Sequence[Path], *, total: int) -> None:
    if errors:
        listed = "\n  ".join(str(error) for error in errors)
        message = (
            f"expected usable images, found {len(errors)} of {total} that are not (nothing was written; "
            f"--skip-unreadable goes on without those that cannot be decoded):\n  {listed}"
        )
        raise InputError(message)
    if not used:
        message = f"expected images that can be decoded, found none among {total}"
        raise InputError(message)


def _write(output: Path, embedded: _Embedded) -> None:
    buffer = io.BytesIO()
    paths = np.array([str(path) for path in embedded.paths])
    np.savez(buffer, embeddings=embedded.embeddings, paths=paths)
    atomic_write_bytes(output, buffer.getvalue())


def _sentence(summary: dict[str, object]) -> str:
    skipped = summary["skipped"]
    ending = f", {len(skipped)} unreadable skipped" if isinstance(skipped, list) and skipped else ""
    count, size = summary["images"], summary["embedding_size"]
    return f"{summary['output']}: {count} embeddings of size {size} by {summary['backend']}{ending}"


if __name__ == "__main__":
    main()
