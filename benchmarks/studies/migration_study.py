"""What a search loses while a gallery moves from one model to another: before, on the way, and after.

`python -m efq.benchmarks.studies.migration_study OLD NEW --paired-old FILE --paired-new FILE -o FOLDER` takes files of
efq-embed or of `embed_faces`: the same faces by the old and by the new model, labelled by person, and, to fit a map,
faces of other people by both. A third of the people are not enrolled, the others with one face each; all other faces
are probes. Draws of who is enrolled are repeated and their means given.
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

from efq.runtime.commands.options import PATH
from efq.runtime.console import efq_command, log
from efq.runtime.errors import InputError
from efq.runtime.files import atomic_write_text
from efq.runtime.gallery.files import read_gallery
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.scale import ScoreScale, fit_scale, impostor_similarities
from efq.toolchain.evaluation.figures.search import cmc, fnir_at_fpir
from efq.toolchain.migration.mapping import LinearMap, fit_map
from efq.toolchain.migration.open_set import FPIRS, OpenSet, draw_open_set, scores_of
from efq.toolchain.migration.ordering import MAP, MARGIN, NEAREST, RANDOM, order_rows
from efq.toolchain.migration.ways import SCALE_FACES

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
KEPT, MERGED, RAW = "kept", "both models", "both models, cosines as they are"
_BEST = "oracle"


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


def read_faces(old: Path, new: Path) -> Faces:
    """Raises InputError for files that are not of the same faces."""
    galleries = read_gallery(old), read_gallery(new)
    if not np.array_equal(galleries[0].faces, galleries[1].faces):
        message = f"expected the same faces by both models in {old} and {new}, found others"
        raise InputError(message)
    people = np.unique(galleries[0].people, return_inverse=True)[1]
    return Faces(old=galleries[0], new=galleries[1], people=people)


def waiting_scores(
    faces: Faces, chosen: OpenSet, mapping: LinearMap | None
) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Ways to search faces that wait: name, and (P, E) scores of the probes to all faces as waiting and as embedded."""
    enrolled, probes = chosen.enrolled, chosen.probes
    sample = np.sort(np.random.default_rng(0).permutation(enrolled)[:SCALE_FACES])
    codes = faces.people[sample]
    old, new = faces.old.embeddings, faces.new.embeddings
    fresh = new[probes] @ new[enrolled].T

    def scale(gallery: NDArray[np.float32], by: NDArray[np.float32]) -> ScoreScale:
        return fit_scale(impostor_similarities(gallery[sample], by[sample], codes))

    new_scale = scale(new, new)
    yield MERGED, scale(old, old).of(old[probes] @ old[enrolled].T), new_scale.of(fresh)
    yield RAW, (old[probes] @ old[enrolled].T).astype(np.float64), fresh.astype(np.float64)
    if old.shape[1] == new.shape[1]:
        crossed = new[probes] @ old[enrolled].T
        yield KEPT, scale(old, new).of(crossed), new_scale.of(fresh)
    if mapping is not None:
        mapped = np.zeros_like(new)
        mapped[enrolled] = mapping.apply(old[enrolled])
        yield f"{mapping.kind} map", scale(mapped, new).of(new[probes] @ mapped[enrolled].T), new_scale.of(fresh)


def orders(faces: Faces, chosen: OpenSet, mapping: LinearMap | None, seed: int) -> dict[str, NDArray[np.int64]]:
    """Places in `chosen.enrolled` in the order they are embedded in; the last one knows the new embeddings."""
    gallery = faces.old.take(chosen.enrolled)
    found = {name: order_rows(gallery, name, seed=seed) for name in (RANDOM, NEAREST, MARGIN)}
    if mapping is not None:
        found[MAP] = order_rows(gallery, MAP, mapping=mapping)
        likeness = (mapping.apply(gallery.embeddings) * faces.new.embeddings[chosen.enrolled]).sum(axis=1)
        found[_BEST] = np.argsort(likeness, kind="stable")
    elif faces.old.embeddings.shape == faces.new.embeddings.shape:
        likeness = (gallery.embeddings * faces.new.embeddings[chosen.enrolled]).sum(axis=1)
        found[_BEST] = np.argsort(likeness, kind="stable")
    return found


def study(faces: Faces, mapping: LinearMap | None, draws: int) -> list[Row]:
    """Every way, order and share, means over `draws` draws of who is enrolled."""
    found: dict[tuple[str, str, float], list[tuple[list[float], float]]] = {}
    for seed in range(draws):
        chosen = draw_open_set(faces.people, seed=seed)
        ordered = orders(faces, chosen, mapping, seed)
        for way, waiting, embedded in waiting_scores(faces, chosen, mapping):
            for name, order in ordered.items():
                for share in SHARES:
                    if share in (0.0, 1.0) and name != RANDOM:
                        continue  # nothing, or everything, is embedded
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
@click.option("--paired-old", type=PATH, help="Faces of other people by the old model, to fit a map on.")
@click.option("--paired-new", type=PATH, help="The same faces by the new model.")
@click.option("--map", "kind", type=click.Choice(["orthogonal", "ridge"]), default="ridge", show_default=True)
@click.option("--draws", type=click.IntRange(1, 1000), default=20, show_default=True, help="Of who is enrolled.")
@click.option("-o", "--output", required=True, type=PATH, help="Folder for rows.json and table.md.")
@efq_command
def main(
    old: Path, new: Path, paired_old: Path | None, paired_new: Path | None, kind: str, draws: int, output: Path
) -> None:
    """Measure what is lost between two models' embeddings of the same faces, OLD and NEW."""
    faces = read_faces(old, new)
    mapping = None
    if paired_old is not None and paired_new is not None:
        paired = read_faces(paired_old, paired_new)
        shared = np.intersect1d(paired.old.people, faces.old.people)
        if len(shared):
            message = f"expected other people to fit a map on, found {len(shared)} of both, first {shared[0]!r}"
            raise InputError(message)
        mapping = fit_map(kind, paired.old.embeddings, paired.new.embeddings, paired.people)
    rows = study(faces, mapping, draws)
    atomic_write_text(output / "rows.json", json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    atomic_write_text(output / "table.md", table(rows))
    log(table(rows))
