"""Accuracy against the fine-tuning faces: how many, of how many people, with or without labels, photographed or not.

`python -m efq.benchmarks.studies.data_study` makes one student of each set with the same recipe, steps and seed,
exports it and measures it on the same held-out faces. Runs that are in the output folder already are not made again,
and those of other options are refused.
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.studies.data_study")

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from efq.benchmarks.drawn_faces.dataset import DatasetSize, draw_dataset
from efq.benchmarks.report.plots import new_figure, save_figure
from efq.export import export_student, find_target
from efq.runtime import Embedder
from efq.runtime.commands.options import IMAGES, PATH, SEED, TEXT, THREADS, parse_counts
from efq.runtime.console import efq_command, log, progress
from efq.runtime.errors import InputError, UsageError
from efq.runtime.files import atomic_directory, atomic_write_text
from efq.runtime.reading import sha256_file
from efq.toolchain.data import open_faces
from efq.toolchain.data.identities import IdentityLevel
from efq.toolchain.distillation import distill, reuse_freed_memory
from efq.toolchain.evaluation import measure_all_pairs
from efq.toolchain.face_options import identity_level_option
from efq.toolchain.recipes.recipe import MOST_STEPS, Recipe, load_recipe
from efq.toolchain.teachers import Teacher, open_teacher

NATURAL, DRAWN, NOISE = "natural", "drawn", "noise"
_VIEWS = 12
_SIDE = 112
_LEVEL = "identity level"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """A fine-tuning set: at most so many images (None: all), of what kind, batches balanced by identity or not."""

    name: str
    images: int | None
    kind: str = NATURAL
    labels: bool = True


def variants(sizes: tuple[int, ...], other: int) -> list[Variant]:
    """Each size and all; all without labels; `other` drawn faces and as many noise images."""
    return [
        *(Variant(name=f"{size:,}", images=size) for size in sizes),
        Variant(name="all", images=None),
        Variant(name="all, no labels", images=None, labels=False),
        Variant(name=f"{other:,} drawn", images=other, kind=DRAWN),
        Variant(name=f"{other:,} noise", images=other, kind=NOISE, labels=False),
    ]


@click.command()
@click.option("--teacher", required=True, type=PATH, help="Float checkpoint.")
@click.option("--backbone", type=TEXT, help="The teacher's network; found by its keys when left out.")
@click.option("--faces", required=True, type=PATH, help="Aligned faces by identity.")
@click.option("--list", "listing", required=True, type=PATH, help="The fine-tuning images, one path a line.")
@identity_level_option
@click.option("--dev-list", required=True, type=PATH, help="The held-out images of other people.")
@click.option(
    "--recipe", "recipe_name", type=TEXT, default="w4a8", show_default=True, help="A recipe's name or TOML file."
)
@click.option(
    "--steps", default=150, show_default=True, type=click.IntRange(1, MOST_STEPS), help="Optimizer steps of each run."
)
@click.option("--sizes", type=TEXT, default="500,1000,3500,7000", show_default=True, help="Numbers of images.")
@click.option(
    "--other", type=IMAGES, default=3500, show_default=True, help="How many drawn faces, and how many noise images."
)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--threads", type=THREADS, help="CPU threads; all cores when left out.")
@click.option("-o", "--output", required=True, type=PATH, help="Folder of students, results.json and data_study.png.")
@efq_command
def main(
    teacher: Path,
    backbone: str | None,
    faces: Path,
    listing: Path,
    identity_level: IdentityLevel | None,
    dev_list: Path,
    recipe_name: str,
    steps: int,
    sizes: str,
    other: int,
    seed: int,
    threads: int | None,
    output: Path,
) -> None:
    """Make and measure one student of each fine-tuning set."""
    import torch

    reuse_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    recipe = dataclasses.replace(load_recipe(recipe_name), steps=steps)
    chosen_variants = variants(parse_counts(sizes, "--sizes", most=IMAGES.max or 1), other)
    loaded = open_teacher(teacher, backbone)
    run = {
        "teacher": loaded.sha256,
        "faces": sha256_file(listing, expected="a list of faces"),
        "held-out faces": sha256_file(dev_list, expected="a list of faces"),
        "recipe": recipe.to_dict(),
        "seed": seed,
        _LEVEL: identity_level,
    }
    records = [(variant, output / f"{_file_name(variant)}.json") for variant in chosen_variants]
    for _, record in records:
        if record.exists():
            _finished(record, run)  # refused before hours of other runs, not after
    rows = []
    for variant, record in records:
        if not record.exists():
            root, chosen = _images(variant, faces, listing, output, seed)
            path = record.with_suffix(".pt")
            row = _run(loaded, root, chosen, variant, recipe, path, faces, dev_list, identity_level, seed)
            atomic_write_text(record, json.dumps(row | {"run": run}, indent=2) + "\n")
        rows.append(_finished(record, run))
        log(f"{rows[-1]['name']}: TAR@1e-4 {100 * rows[-1]['tar']['0.0001']:.2f} %")
    atomic_write_text(output / "results.json", json.dumps(rows, indent=2) + "\n")
    plot(rows, output / "data_study.png")
    print(_table(rows))


def _file_name(variant: Variant) -> str:
    return variant.name.replace(", ", "_").replace(" ", "_").replace(",", "")


def _finished(path: Path, run: dict[str, Any]) -> dict[str, Any]:
    """A finished run's row. Raises InputError when the file is damaged, UsageError when it has other options."""
    try:
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = {_LEVEL: None} | row["run"]  # which older records have not
        different = sorted(key for key in run if found[key] != run[key])
    except (ValueError, KeyError, TypeError) as error:
        message = f"expected the record of a finished run in {path}, found another content: delete it"
        raise InputError(message) from error
    if different:
        message = f"{path} belongs to a run with another {', '.join(different)}: repeat its options, or use another -o"
        raise UsageError(message)
    return row


def _images(variant: Variant, faces: Path, listing: Path, output: Path, seed: int) -> tuple[Path, Path | None]:
    """The folder and the listing of a variant's images; drawn ones and noise are made on first use."""
    if variant.kind == NATURAL:
        return faces, listing
    root = output / f"{variant.kind}_{variant.images}_seed{seed}"
    assert variant.images is not None
    if not root.exists():
        with atomic_directory(root, force=False) as folder:
            if variant.kind == DRAWN:
                size = DatasetSize(train_identities=-(-variant.images // _VIEWS), dev_identities=20, views=_VIEWS)
                draw_dataset(folder, size, seed=seed, progress=progress)
            else:
                _write_noise(folder, variant.images, seed)
    return root, root / "splits" / "train.txt" if variant.kind == DRAWN else None


def _write_noise(root: Path, count: int, seed: int) -> None:
    """Smooth random colours with white noise on them: the statistics of no face."""
    generator = np.random.default_rng(seed)
    for index in range(count):
        coarse = generator.uniform(0, 255, (8, 8, 3)).astype(np.float32)
        smooth = cv2.resize(coarse, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
        image = smooth + generator.normal(0, 20, (_SIDE, _SIDE, 3))
        folder = root / f"{index:05}"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "0.png"), np.clip(image, 0, 255).astype(np.uint8))


def _run(
    teacher: Teacher,
    root: Path,
    listing: Path | None,
    variant: Variant,
    recipe: Recipe,
    output: Path,
    faces: Path,
    dev_list: Path,
    identity_level: IdentityLevel | None,
    seed: int,
) -> dict[str, Any]:
    found = open_faces(
        root,
        listing=listing,
        identity_level=identity_level if variant.kind == NATURAL else None,
        max_images=variant.images or 14_000,
        contract=teacher.contract,
        seed=seed,
        progress=progress,
    )
    if not variant.labels:
        recipe = dataclasses.replace(recipe, identities_per_batch=recipe.batch, images_per_identity=1)
    student = distill(teacher, found, recipe, output, seed=seed, progress=progress)
    folder = output.with_suffix("")
    export_student(student, find_target("ort-cpu"), folder, bits=recipe.weight_bits, force=True)
    dev = open_faces(
        faces, listing=dev_list, identity_level=identity_level, contract=teacher.contract, progress=progress
    )
    with Embedder.open(folder, backend="onnxruntime") as embedder:
        embeddings = embedder.embed(np.array(dev.images))
    measured = measure_all_pairs(embeddings, dev.labels, seed=seed)
    return {
        "name": variant.name,
        "kind": variant.kind,
        "labels": variant.labels,
        "images": len(found),
        "identities": len(found.identities),
        "steps": recipe.steps,
        "seconds": student.training["seconds"],
        "tar": {str(row.far): row.tar.value for row in measured.rows},
        "interval": [measured.rows[1].tar.low, measured.rows[1].tar.high],
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| faces | images | identities | TAR@1e-3 | TAR@1e-4 (95 %) | TAR@1e-5 |", "|---|---|---|---|---|---|"]
    for row in rows:
        tar = {key: f"{100 * value:.2f}" for key, value in row["tar"].items()}
        low, high = (f"{100 * value:.2f}" for value in row["interval"])
        lines.append(
            f"| {row['name']} | {row['images']:,} | {row['identities']:,} | {tar['0.001']} | "
            f"{tar['0.0001']} ({low} to {high}) | {tar['1e-05']} |"
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """TAR@FAR=1e-4 with its interval over the number of images; labelled natural faces are joined by a line."""
    figure, axes = new_figure(8.0, 4.6)
    line = [row for row in rows if row["kind"] == NATURAL and row["labels"]]
    axes.plot([row["images"] for row in line], [100 * row["tar"]["0.0001"] for row in line], color="#0072B2", zorder=1)
    styles = {(NATURAL, True): ("o", "#0072B2"), (NATURAL, False): ("s", "#009E73")}
    for row in rows:
        marker, colour = styles.get((row["kind"], row["labels"]), ("^", "#D55E00"))
        value, (low, high) = 100 * row["tar"]["0.0001"], (100 * bound for bound in row["interval"])
        axes.errorbar(
            row["images"],
            value,
            yerr=[[max(value - low, 0)], [max(high - value, 0)]],
            fmt=marker,
            color=colour,
            capsize=3,
        )
        axes.annotate(row["name"], (row["images"], value), textcoords="offset points", xytext=(7, -10), fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("fine-tuning images")
    axes.set_ylabel("TAR at FAR 1e-4 on held-out people, %")
    axes.set_title(f"The same {rows[0]['steps']} steps on other faces")
    axes.grid(True, which="major", color="#DDDDDD")
    save_figure(figure, path)
