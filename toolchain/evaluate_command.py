"""`efq-evaluate`: verification accuracy of a teacher, a student or an exported artifact."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.toolchain.evaluate_command")

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from efq.runtime.backends.target import AUTOMATIC
from efq.runtime.commands.options import DEVICE, PATH, TEXT, THREADS, FiniteFloat, refuse_unused
from efq.runtime.console import efq_command, progress
from efq.runtime.errors import UsageError
from efq.toolchain.data import FaceSet, IdentityLevel
from efq.toolchain.data.pictures import check_pictures
from efq.toolchain.evaluated_networks import open_evaluated
from efq.toolchain.evaluation import (
    EvaluationFaces,
    EvaluationReport,
    NetworkSummary,
    check_unseen,
    embed_faces,
    evaluate,
    read_protocol,
    training_images,
)
from efq.toolchain.evaluation.curves import curves_of
from efq.toolchain.evaluation.protocols.ijb.benchmark import IjbBenchmark, read_ijb
from efq.toolchain.evaluation.protocols.ijb.measure import measure_ijb
from efq.toolchain.evaluation.protocols.ijb.mode import IjbMode
from efq.toolchain.evaluation.protocols.ijb.table import ijb_parts
from efq.toolchain.evaluation.table import report_parts
from efq.toolchain.face_options import identity_level_option
from efq.toolchain.ijb_options import ijb_options, refuse_unused_with_ijb
from efq.toolchain.teacher_options import teacher_input_option

if TYPE_CHECKING:
    from efq.toolchain.networks import EmbeddingNetwork

_PLAIN_WIDTH = 150
_TRAINED_ON = (
    "evaluate on other identities (--list, --pairs), or give --allow-training-images for figures that are not a clean "
    "test"
)


@click.command("efq-evaluate")
@click.argument("model", type=PATH)
@click.option("--reference", type=PATH, help="A second network to compare with, as a rule the teacher.")
@click.option("--faces", "root", type=PATH, help="Aligned faces by identity: a folder, .rec or .tar.")
@click.option("--list", "listing", type=PATH, help="File naming the images of --faces to compare.")
@identity_level_option
@click.option(
    "--pairs", "pair_files", type=PATH, multiple=True, help="Pairs: a .bin, a list or CFP's folder (repeatable)."
)
@ijb_options
@click.option("--backbone", type=TEXT, help="Network of a MODEL or reference that does not say it itself.")
@teacher_input_option
@click.option("--float", "as_float", is_flag=True, help="Measure the student MODEL with its quantizers left out.")
@click.option("--flip/--no-flip", default=False, help="Add the mirror image's embedding.", show_default=True)
@click.option("--resize", is_flag=True, help="Stretch images of another size than the network's.")
@click.option("--allow-training-images", is_flag=True, help="Evaluate on training images; marks the result.")
@click.option("--device", type=DEVICE, help="cpu or cuda.  [default: cpu; for artifacts the device of their target]")
@click.option(
    "--backend",
    type=TEXT,
    default=AUTOMATIC,
    show_default=True,
    help="Of artifacts: auto, onnxruntime, openvino or native.",
)
@click.option("--threads", type=THREADS, help="Threads of the networks.  [default: all cores]")
@click.option(
    "--bootstrap", "resamples", type=click.IntRange(0, 100_000), default=200, show_default=True, help="Resamples."
)
@click.option(
    "--threshold",
    "thresholds",
    type=FiniteFloat(-1.0, 1.0),
    multiple=True,
    help="Give FMR and FNMR at this cosine too (repeatable).",
)
@click.option("--search", is_flag=True, help="Search 1:N too: all first images enrolled, the others probes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@efq_command
def main(
    model: Path,
    reference: Path | None,
    root: Path | None,
    listing: Path | None,
    identity_level: IdentityLevel | None,
    pair_files: tuple[Path, ...],
    ijb: Path | None,
    ijb_mode: str,
    backbone: str | None,
    teacher_input: str | None,
    as_float: bool,
    flip: bool,
    resize: bool,
    allow_training_images: bool,
    device: str | None,
    backend: str,
    threads: int | None,
    resamples: int,
    thresholds: tuple[float, ...],
    search: bool,
    as_json: bool,
) -> None:
    """Measure MODEL, a teacher checkpoint, a student or an artifact folder, on faces it has not seen.

    --faces alone compares all pairs of the images (TAR@FAR and FNMR@FMR 1e-3, 1e-4, 1e-5, EER), with --list
    those of the listed ones. --threshold gives FMR and FNMR at a cosine in use, --search the figures of 1:N. --pairs
    gives the k-fold accuracy on a verification set (lfw.bin), which brings its images, or on a list of pairs, as LFW,
    CFP, CALFW, CPLFW and AgeDB are published; its paths are relative to --faces, or else to the file's own folder. All
    pairs are then only compared with --list. With --reference both networks are measured on the same images and
    resamples, and their difference has an interval of its own. --ijb gives the figures of IJB-B or IJB-C, 1:1 and 1:N.
    """
    from efq.toolchain.teachers.teacher_check import check_teacher

    refuse_unused_with_ijb(ijb)
    if ijb is None and root is None and (listing is not None or not pair_files):
        message = "expected faces; name them with --faces (--list needs it), or give a --pairs file"
        raise UsageError(message)
    if listing is None and pair_files:
        refuse_unused(("identity_level",), "with --pairs alone, which say themselves who is on an image")
        refuse_unused(("thresholds", "search"), "with --pairs alone; name the images to compare with --list")
    mode = IjbMode.parse(ijb_mode)
    protocol = (
        read_ijb(ijb)
        if ijb is not None
        else read_protocol(
            root,
            listing=listing,
            pairs_files=pair_files,
            all_pairs=listing is not None or not pair_files,
            identity_level=identity_level,
        )
    )
    networks = open_evaluated(
        model,
        reference,
        backbone=backbone,
        teacher_input=teacher_input,
        device=device,
        threads=threads,
        backend=backend,
        as_float=as_float,
    )
    if isinstance(protocol, IjbBenchmark):
        found = measure_ijb(networks, protocol, mode, allow_training_images=allow_training_images, progress=progress)
        _show(found.to_dict(), ijb_parts(found), as_json=as_json)
        return
    faces = protocol.open(networks[0].contract, resize=resize, progress=progress)
    if not allow_training_images:
        for network in networks:
            check_unseen(faces.faces, network.path, *network.training, remedy=_TRAINED_ON)
    check_pictures(faces.faces)
    for network in networks:
        if network.teacher is not None:
            check_teacher(network.teacher, faces.faces, accept=True)
    embeddings = [
        embed_faces(
            network.embed,
            faces.faces,
            title=f"embedding with {network.name}",
            flip=flip,
            normalize=True,
            progress=progress,
        )
        for network in networks
    ]
    report = _report(networks, faces, embeddings, resamples, flip=flip, thresholds=thresholds, search=search)
    _show(report.to_dict(), report_parts(report), as_json=as_json)


def _show(values: dict[str, Any], parts: Sequence[str | Table], *, as_json: bool) -> None:
    """Print a report: its `values` as JSON, or its lines and tables."""
    if as_json:
        click.echo(json.dumps(values))
        return
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)
    for part in parts:
        if isinstance(part, str):
            console.print(part, markup=False, soft_wrap=True)
        else:
            console.print(part)


def _report(
    networks: list[EmbeddingNetwork],
    faces: EvaluationFaces,
    embeddings: list[NDArray[np.float32]],
    resamples: int,
    *,
    flip: bool,
    thresholds: Sequence[float],
    search: bool,
) -> EvaluationReport:
    """What was measured of the model, the first of `networks`, beside the reference, the second where there is one."""
    roles = ("model", "reference")[: len(networks)]
    reference = roles[1] if len(roles) > 1 else None
    found = evaluate(
        dict(zip(roles, embeddings, strict=True)),
        faces,
        reference=reference,
        thresholds=thresholds,
        search=search,
        resamples=resamples,
    )
    curves = {role: curves_of(pairs) for role, pairs in found.pairs.items()}
    summaries = [_summary(network, faces.faces) for network in networks]
    return EvaluationReport(
        model=summaries[0],
        reference=summaries[1] if reference else None,
        faces=faces.faces.source,
        faces_sha256=faces.faces.sha256,
        images=len(faces.faces),
        unreadable=faces.faces.unreadable,
        duplicates=faces.duplicates,
        near_pairs=faces.near,
        flip=flip,
        resamples=resamples,
        clean=not any(summary.training_images for summary in summaries),
        all_pairs=found.networks["model"].all_pairs,
        pairs=found.networks["model"].folds,
        agreement=found.agreements["reference", "model"] if reference else None,
        thresholds={role: found.networks[role].thresholds for role in roles if thresholds},
        search=found.networks["model"].search,
        curves={role: curve for role, curve in curves.items() if curve is not None},
    )


def _summary(network: EmbeddingNetwork, faces: FaceSet) -> NetworkSummary:
    return NetworkSummary(
        kind=network.kind,
        name=network.name,
        path=str(network.path),
        sha256=network.sha256,
        training_images=len(training_images(faces, *network.training)),
        backend=network.backend,
    )
