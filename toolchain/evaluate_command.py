"""`efq-evaluate`: verification accuracy of a teacher, a student or an exported artifact."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from efq.runtime.backends.open import AUTOMATIC
from efq.runtime.console import efq_command, progress
from efq.runtime.errors import UsageError
from efq.toolchain.data import FaceSet, face_paths, open_paths
from efq.toolchain.evaluation import (
    AllPairsResult,
    EvaluationReport,
    FoldResult,
    NetworkSummary,
    PairList,
    measure_agreement,
    measure_all_pairs,
    measure_folds,
    read_pairs,
)
from efq.toolchain.evaluation.table import print_report
from efq.toolchain.networks import EmbeddingNetwork, open_network

_BATCH = 64


@click.command("efq-evaluate")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--reference", type=click.Path(path_type=Path), help="A second network to compare with, as a rule the teacher."
)
@click.option(
    "--faces", "root", type=click.Path(path_type=Path), help="Folder of aligned faces, one folder per identity."
)
@click.option(
    "--list", "listing", type=click.Path(path_type=Path), help="File naming the images of --faces to compare."
)
@click.option("--pairs", "pair_files", type=click.Path(path_type=Path), multiple=True, help="Pairs file (repeatable).")
@click.option("--backbone", help="Network of a MODEL or reference that does not say it itself.")
@click.option("--float", "as_float", is_flag=True, help="Measure the student MODEL with its quantizers left out.")
@click.option("--flip/--no-flip", default=False, help="Add the mirror image's embedding.", show_default=True)
@click.option("--resize", is_flag=True, help="Stretch images of another size than the network's.")
@click.option("--allow-training-images", is_flag=True, help="Evaluate on training images; marks the result.")
@click.option("--device", help="cpu or cuda.  [default: cpu; for artifacts the device of their target]")
@click.option("--backend", default=AUTOMATIC, show_default=True, help="Of artifacts: auto, onnxruntime or openvino.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the networks.  [default: all cores]")
@click.option("--bootstrap", "resamples", type=click.IntRange(min=0), default=200, show_default=True, help="Resamples.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@efq_command
def main(
    model: Path,
    reference: Path | None,
    root: Path | None,
    listing: Path | None,
    pair_files: tuple[Path, ...],
    backbone: str | None,
    as_float: bool,
    flip: bool,
    resize: bool,
    allow_training_images: bool,
    device: str | None,
    backend: str,
    threads: int | None,
    resamples: int,
    as_json: bool,
) -> None:
    """Measure MODEL, a teacher checkpoint, a student or an artifact folder, on faces it has not seen.

    --faces alone compares all pairs of the folder's images (TAR@FAR 1e-3, 1e-4, 1e-5), with --list those of the listed
    ones. --pairs gives the k-fold accuracy on a pairs file; its paths are relative to --faces, or else to the file's
    own folder, and all pairs are then only compared with --list. With --reference both networks are measured on the
    same images and resamples, and their difference has an interval of its own.
    """
    root = _root(root, listing, pair_files)
    pair_lists = [read_pairs(file, root) for file in pair_files]
    listed = face_paths(root, listing) if listing is not None or not pair_files else []
    files = [path for path in (model, reference) if path is not None]
    if backend != AUTOMATIC and not any(path.is_dir() for path in files):
        message = f"expected an artifact folder for --backend, found {model}: leave the option out"
        raise UsageError(message)
    networks = [
        open_network(
            path,
            backbone=backbone,
            device=device,
            threads=threads,
            runtime=backend,
            quantized=not (as_float and path is model),
        )
        for path in files
    ]
    _check_contracts(networks)
    paths = sorted({*listed, *(path for pairs in pair_lists for path in pairs.paths)})
    faces = open_paths(root, paths, contract=networks[0].contract, resize=resize)
    summaries = [_summary(network, faces) for network in networks]
    if not allow_training_images:
        _refuse_training_images(networks, faces)
    embeddings = [_embed(network, faces.images, flip=flip) for network in networks]
    report = _measure(faces, listed, pair_lists, embeddings, resamples, summaries, flip=flip)
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    else:
        print_report(report)


def _root(root: Path | None, listing: Path | None, pair_files: tuple[Path, ...]) -> Path:
    """The folder that all paths are relative to."""
    if root is not None:
        return root
    if listing is not None or not pair_files:
        message = "expected a folder of faces; name it with --faces DIR (--list needs it), or give a --pairs file"
        raise UsageError(message)
    if len({file.parent for file in pair_files}) > 1:
        message = "expected pairs files of one folder; name the folder their paths are relative to with --faces DIR"
        raise UsageError(message)
    return pair_files[0].parent


def _check_contracts(networks: list[EmbeddingNetwork]) -> None:
    if any(network.contract != networks[0].contract for network in networks):
        message = (
            f"expected model and reference to take the same images, found {networks[0].contract.to_dict()} "
            f"and {networks[1].contract.to_dict()}; evaluate them one by one"
        )
        raise UsageError(message)


def _training_images(network: EmbeddingNetwork, faces: FaceSet) -> list[str]:
    return [
        path for path, sha256 in zip(faces.paths, faces.hashes, strict=True) if sha256[:16] in network.training_hashes
    ]


def _refuse_training_images(networks: list[EmbeddingNetwork], faces: FaceSet) -> None:
    for network in networks:
        found = _training_images(network, faces)
        if found:
            message = (
                f"expected images that {network.path} was not fine-tuned on, found {len(found)} of {len(faces)} among "
                f"its training images, first {found[0]}; evaluate on other identities (--list, --pairs), or give "
                "--allow-training-images for figures that are not a clean test"
            )
            raise UsageError(message)


def _summary(network: EmbeddingNetwork, faces: FaceSet) -> NetworkSummary:
    return NetworkSummary(
        kind=network.kind,
        name=network.name,
        path=str(network.path),
        sha256=network.sha256,
        training_images=len(_training_images(network, faces)),
        backend=network.backend,
    )


def _embed(network: EmbeddingNetwork, images: NDArray[np.uint8], *, flip: bool) -> NDArray[np.float32]:
    """Unit-length embeddings (N, d); with `flip` of the sum of an image's and its mirror image's."""
    parts = []
    with progress(f"embedding with {network.name}", len(images), "images") as bar:
        for start in range(0, len(images), _BATCH):
            batch = np.ascontiguousarray(images[start : start + _BATCH])
            embeddings = network.embed(batch)
            if flip:
                embeddings = embeddings + network.embed(np.ascontiguousarray(batch[:, :, ::-1]))
            parts.append(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))
            bar.advance(len(batch))
    return np.concatenate(parts).astype(np.float32)


def _measure(
    faces: FaceSet,
    listed: list[str],
    pair_lists: list[PairList],
    embeddings: list[NDArray[np.float32]],
    resamples: int,
    summaries: list[NetworkSummary],
    *,
    flip: bool,
) -> EvaluationReport:
    places = {path: place for place, path in enumerate(faces.paths)}
    chosen = np.array([places[path] for path in listed if path in places], np.int64)
    all_pairs = _measure_all_pairs(faces, chosen, embeddings, resamples) if listed else None
    compared = [values[chosen] if listed else values for values in embeddings]
    return EvaluationReport(
        model=summaries[0],
        reference=summaries[1] if len(summaries) > 1 else None,
        faces=faces.source,
        faces_sha256=faces.sha256,
        images=len(faces),
        unreadable=faces.unreadable,
        flip=flip,
        resamples=resamples,
        clean=not any(summary.training_images for summary in summaries),
        all_pairs=all_pairs,
        pairs=tuple(_measure_pairs(pairs, places, embeddings, resamples) for pairs in pair_lists),
        agreement=measure_agreement(compared[0], compared[1], all_pairs) if len(compared) > 1 else None,
    )


def _measure_all_pairs(
    faces: FaceSet, chosen: NDArray[np.int64], embeddings: list[NDArray[np.float32]], resamples: int
) -> AllPairsResult:
    model, reference = embeddings[0], embeddings[1] if len(embeddings) > 1 else None
    return measure_all_pairs(
        model[chosen],
        faces.labels[chosen],
        reference=None if reference is None else reference[chosen],
        resamples=resamples,
    )


def _measure_pairs(
    pairs: PairList, places: dict[str, int], embeddings: list[NDArray[np.float32]], resamples: int
) -> FoldResult:
    usable = np.array([a in places and b in places for a, b in zip(pairs.first, pairs.second, strict=True)])
    first, second = (
        np.array([places.get(path, -1) for path in paths], np.int64)[usable] for paths in (pairs.first, pairs.second)
    )
    return measure_folds(
        pairs.name,
        embeddings[0],
        first,
        second,
        pairs.same[usable],
        pairs.folds[usable],
        reference=embeddings[1] if len(embeddings) > 1 else None,
        skipped_pairs=int((~usable).sum()),
        resamples=resamples,
    )
