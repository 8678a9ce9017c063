"""efq-align: aligned faces of a folder of photos, found by a detector."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.runtime.detection.align_command")

import json
from pathlib import Path

import click

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.folder import Artifact
from efq.runtime.commands.options import PATH, THREADS, FiniteFloat, refuse_unused
from efq.runtime.console import efq_command, log, progress
from efq.runtime.detection.aligned_folder import AlignedFolder
from efq.runtime.detection.detector import SIZES, Detector
from efq.runtime.detection.photo_faces import LEAST_SIDE, TAKES, PhotoReader, Take
from efq.runtime.errors import InputError, UnreadableImageError, UsageError
from efq.runtime.faces.images import IMAGE_SUFFIXES
from efq.runtime.faces.scan import scan_folder
from efq.runtime.faces.templates import ARCFACE, SCALED
from efq.runtime.files import atomic_directory, refuse_inputs

_LARGEST_CROP = 1024


@click.command("efq-align")
@click.argument("photos", type=PATH)
@click.option("--detector", "detector_file", required=True, type=PATH, help="Face detector, SCRFD or YuNet (ONNX).")
@click.option(
    "-o", "--output", required=True, type=PATH, help="Folder to write: a PNG for each face, and what was not."
)
@click.option("--artifact", type=PATH, help="Artifact folder whose size and template to align to.")
@click.option(
    "--size",
    type=click.IntRange(16, _LARGEST_CROP),
    help="Side of the crops, with the ArcFace template.  [default: 112]",
)
@click.option(
    "--take",
    type=click.Choice(TAKES),
    default="largest",
    show_default=True,
    help="Faces of a photo: the largest one, its single one (photos of several are left out), or all.",
)
@click.option(
    "--min-score", type=FiniteFloat(0, 1, min_open=True), help="Least score of a face.  [default: the detector's]"
)
@click.option(
    "--min-side",
    type=FiniteFloat(1, 10_000),
    default=LEAST_SIDE,
    show_default=True,
    help="Least size of a face in the photo, in pixels.",
)
@click.option(
    "--detector-size",
    type=click.IntRange(SIZES[0], SIZES[-1]),
    help="Side that photos are fitted into: more finds smaller faces.  [default: 640, or the detector's]",
)
@click.option(
    "--exif-orientation/--no-exif-orientation", default=True, show_default=True, help="Turn photos as EXIF says."
)
@click.option("--threads", type=THREADS, help="Threads of the detector.  [default: every CPU]")
@click.option("--force", is_flag=True, help="Replace the output folder when it is not empty.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@efq_command
def main(
    photos: Path,
    detector_file: Path,
    output: Path,
    artifact: Path | None,
    size: int | None,
    take: Take,
    min_score: float | None,
    min_side: float,
    detector_size: int | None,
    exif_orientation: bool,
    threads: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Find the faces in the folder PHOTOS and write them aligned, in the same folders.

    landmarks.csv in the output says where each face was, left-out.csv what was left out and why.
    """
    if artifact is not None:
        refuse_unused(("size",), "with --artifact, which says the size of its faces")
    refuse_inputs(output, {"the photos": photos, "the detector": detector_file, "the artifact": artifact})
    _refuse_within(photos, output)
    contract = _contract(artifact, size)
    with (
        atomic_directory(output, force=force) as folder,
        Detector.open(detector_file, size=detector_size, threads=threads) as detector,
    ):
        paths = _photos_in(photos)
        reader = PhotoReader(
            detector=detector,
            contract=contract,
            take=take,
            min_score=min_score,
            min_side=min_side,
            exif_orientation=exif_orientation,
        )
        aligned = _align_all(reader, photos, paths, AlignedFolder(folder))
    summary = {
        "output": str(output),
        "detector": detector.name,
        "photos": len(paths),
        "faces": aligned.faces,
        "photos_without": aligned.photos_without,
        "left_out": aligned.left_out,
    }
    click.echo(json.dumps(summary) if as_json else _sentence(summary))


def _refuse_within(photos: Path, output: Path) -> None:
    """Raise UsageError for an output among the photos, whose faces would be photos of the next run."""
    if output.resolve().is_relative_to(photos.resolve()):
        message = f"expected an output that is not in the folder of the photos, {photos}, found {output}; name another"
        raise UsageError(message)


def _contract(artifact: Path | None, size: int | None) -> InputContract:
    """What the faces are aligned to. Raises what reading an artifact does."""
    if artifact is not None:
        return Artifact.open(artifact).manifest.input
    side = 112 if size is None else size
    return InputContract(height=side, width=side, alignment=SCALED if side % 112 else ARCFACE)


def _photos_in(folder: Path) -> tuple[str, ...]:
    """The photos, relative to their folder. Raises InputError where there is none."""
    found = scan_folder(folder)
    if found.left_out:
        log(f"left out of {folder}: {found.left_out}")
    if not found.images:
        message = f"expected photos ({', '.join(IMAGE_SUFFIXES)}) in the folder {folder}, found none"
        raise InputError(message)
    return found.images


def _align_all(reader: PhotoReader, folder: Path, paths: tuple[str, ...], output: AlignedFolder) -> AlignedFolder:
    """Write the faces of every photo. Raises InputError where no photo has one."""
    with output, progress("aligning faces", len(paths), "photos") as shown:
        names = output.names_of(paths)
        for path in paths:
            try:
                output.add(path, names[path], reader(folder / path), numbered=reader.take == "all")
            except UnreadableImageError as error:
                output.leave_out(path, str(error))
            shown.advance(faces=output.faces)
    if not output.faces:
        message = (
            f"expected faces in the {len(paths)} photos in {folder}, found none that could be aligned, first: "
            f"{output.first_reason}; a larger --detector-size finds smaller faces"
        )
        raise InputError(message)
    return output


def _sentence(summary: dict[str, object]) -> str:
    without = (
        f", none of {summary['photos_without']} of them (left-out.csv says why)" if summary["photos_without"] else ""
    )
    return (
        f"{summary['output']}: {summary['faces']} faces of {summary['photos']} photos by {summary['detector']}{without}"
    )
