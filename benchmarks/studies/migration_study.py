"""What a search loses while a gallery moves from one model to another: before, on the way, and after.

`python -m efq.benchmarks.studies.migration_study OLD NEW --faces FACES --list dev.txt -o FOLDER` embeds the faces with
both models, keeps the embeddings in FOLDER, and searches. A third of the people are not enrolled, the others with one
face each; all other faces are probes. Draws of who is enrolled are repeated and their means given. Maps are
cross-validated: every face is mapped by what was fitted on four fifths of the people, without its own.
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.studies.migration_study")

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from efq.runtime import Artifact
from efq.runtime.artifact.folder import MODEL_FILE
from efq.runtime.commands.options import PATH
from efq.runtime.console import efq_command, progress
from efq.runtime.errors import InputError
from efq.runtime.files import atomic_write_text
from efq.runtime.gallery.files import read_gallery
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.npz import write_gallery
from efq.runtime.gallery.record import EmbeddingModel, GalleryRecord
from efq.runtime.gallery.scale import fit_scale, impostor_similarities
from efq.runtime.reading import sha256_file
from efq.toolchain.data import FaceSet, open_faces
from efq.toolchain.evaluation import embed_faces
from efq.toolchain.evaluation.figures.search import cmc, fnir_at_fpir
from efq.toolchain.migration.mapping import KINDS, RIDGE, cosines, out_of_fold
from efq.toolchain.migration.open_set import FPIRS, OpenSet, draw_open_set, scores_of
from efq.toolchain.migration.ordering import CENTRAL, MAP, MARGIN, RANDOM, order_by_map, order_rows
from efq.toolchain.migration.ways import SCALE_FACES
from efq.toolchain.networks import open_network

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
KEPT, MERGED, RAW = "kept", "both models", "both models, cosines as they are"
_BEST = "by what they will be"
_DRAWN = 256  # of about 750 enrolled faces, to order the others by a map


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One state of a gallery, means over the draws, all fractions.

    way: how faces that wait are searched. order: in which the others were embedded. share: of them. fnir: by FPIR, at
    the state's own threshold. rank1: searches that find the person first.
    """

    way: str
    order: str
    share: float
    fnir: dict[str, float]
    rank1: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Faces:
    """The same N faces by both models; people: (N,) int64."""

    old: Gallery
    new: Gallery
    people: NDArray[np.int64]


def embedded(model: Path, faces: FaceSet, file: Path) -> Gallery:
    """The faces by the model, kept in `file`. Raises InputError for a file of other faces or another model."""
    if not file.exists():
        with open_network(model, threads=1) as network:
            embeddings = embed_faces(network.embed, faces, title=str(file), normalize=True, progress=progress)
            known = EmbeddingModel(sha256=network.sha256, name=network.name, embedding_size=embeddings.shape[1])
        people = [faces.identities[label] for label in faces.labels]
        record = GalleryRecord(model=known)
        write_gallery(file, Gallery.of(embeddings, people, faces.paths, record, hashes=faces.hashes))
    gallery = read_gallery(file)
    digest = Artifact.open(model).checksums[MODEL_FILE] if model.is_dir() else sha256_file(model, expected="a model")
    if gallery.faces.tolist() != list(faces.paths) or gallery.record.model.sha256 != digest:
        message = f"expected {len(faces)} faces by {model} in {file}, found others; remove it, or name another folder"
        raise InputError(message)
    return gallery


def waiting_scores(
    faces: Faces, chosen: OpenSet, maps: dict[str, NDArray[np.float32]]
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    """Ways to search faces that wait: name, and (P, E) scores of the probes to all faces as waiting and as embedded."""
    enrolled, probes = chosen.enrolled, chosen.probes
    sample = np.sort(np.random.default_rng(0).permutation(enrolled)[:SCALE_FACES])
    codes = faces.people[sample]
    old, new = faces.old.embeddings, faces.new.embeddings

    def scores(gallery: NDArray[np.float32], by: NDArray[np.float32]) -> NDArray[np.float32]:
        scale = fit_scale(impostor_similarities(gallery[sample], by[sample], codes))
        return scale.of(by[probes] @ gallery[enrolled].T).astype(np.float32)

    fresh = scores(new, new)
    yield MERGED, scores(old, old), fresh
    yield RAW, old[probes] @ old[enrolled].T, new[probes] @ new[enrolled].T
    if old.shape[1] == new.shape[1]:
        yield KEPT, scores(old, new), fresh
    for name, found in maps.items():
        yield f"{name} map", scores(found, new), fresh


def orders(
    faces: Faces, chosen: OpenSet, maps: dict[str, NDArray[np.float32]], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Places in `chosen.enrolled` in the order they are embedded in; the last one knows the new embeddings."""
    gallery, fresh = faces.old.take(chosen.enrolled), faces.new.embeddings[chosen.enrolled]
    found = {name: order_rows(gallery, name, seed=seed) for name in (RANDOM, MARGIN, CENTRAL)}
    drawn = np.sort(np.random.default_rng(seed).permutation(len(fresh))[:_DRAWN])
    found[MAP] = order_by_map(gallery, drawn, fresh[drawn])
    waiting = maps[RIDGE][chosen.enrolled] if maps else gallery.embeddings
    if waiting.shape == fresh.shape:
        found[_BEST] = np.argsort(cosines(waiting, fresh), kind="stable")
    return found


def fit_maps(faces: Faces) -> dict[str, NDArray[np.float32]]:
    """Each kind of map: (N, e) unit rows in the new model's space, every face by what was fitted on other people."""
    old, new = faces.old.embeddings, faces.new.embeddings
    return {kind: out_of_fold(kind, old, new, faces.people) for kind in KINDS}


def study(faces: Faces, maps: dict[str, NDArray[np.float32]], draws: int) -> list[Row]:
    """Every way, order and share, means over `draws` draws of who is enrolled."""
    found: dict[tuple[str, str, float], list[tuple[list[float], float]]] = {}
    for seed in range(draws):
        chosen = draw_open_set(faces.people, seed=seed)
        ordered = orders(faces, chosen, maps, seed)
        for way, waiting, embedded in waiting_scores(faces, chosen, maps):
            for name, order in ordered.items():
                for share in SHARES:
                    if share in (0.0, 1.0) and name != RANDOM:
                        continue  # nothing is embedded, or everything
                    if way == RAW and name != RANDOM:
                        continue
                    done = np.zeros(len(order), bool)
                    done[order[: round(share * len(order))]] = True
                    scores = scores_of(np.where(done[None], embedded, waiting), chosen)
                    fnirs = [fnir_at_fpir(scores, fpir, rank=1).fnir for fpir in FPIRS]
                    found.setdefault((way, name, share), []).append((fnirs, float(cmc(scores, [1])[0])))
    return [
        Row(
            way=way,
            order=name,
            share=share,
            fnir={f"{fpir:g}": float(np.mean([one[0][place] for one in values])) for place, fpir in enumerate(FPIRS)},
            rank1=float(np.mean([one[1] for one in values])),
        )
        for (way, name, share), values in found.items()
    ]


def table(rows: list[Row]) -> str:
    """As a Markdown table, in percent."""
    lines = [
        "| waiting faces are searched by | order | embedded | "
        + " | ".join(f"FNIR at FPIR {f}" for f in rows[0].fnir)
        + " | rank 1 |",
        "|---" * (4 + len(rows[0].fnir)) + "|",
    ]
    for row in rows:
        values = " | ".join(f"{100 * value:.2f}" for value in (*row.fnir.values(), row.rank1))
        lines.append(f"| {row.way} | {row.order} | {100 * row.share:.0f} % | {values} |")
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
@click.option("--faces", "root", required=True, type=PATH, help="Folder of aligned faces, one folder per identity.")
@click.option("--list", "listing", required=True, type=PATH, help="The images to measure on.")
@click.option("--maps/--no-maps", default=True, show_default=True, help="Fit maps from OLD to NEW.")
@click.option("--draws", type=click.IntRange(1, 1000), default=20, show_default=True, help="Of who is enrolled.")
@click.option("-o", "--output", required=True, type=PATH, help="Folder for embeddings, rows.json and table.md.")
@efq_command
def main(old: Path, new: Path, root: Path, listing: Path, maps: bool, draws: int, output: Path) -> None:
    """Measure what is lost between the models OLD and NEW: teachers, students or artifact folders."""
    measured = open_faces(root, listing=listing, progress=progress)
    faces = Faces(
        old=embedded(old, measured, output / "old.npz"),
        new=embedded(new, measured, output / "new.npz"),
        people=measured.labels,
    )
    rows = study(faces, fit_maps(faces) if maps else {}, draws)
    atomic_write_text(output / "rows.json", json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    atomic_write_text(output / "table.md", table(rows))
    click.echo(table(rows), nl=False)
