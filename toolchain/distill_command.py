"""efq-distill: a float teacher and faces become an integer-native student."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.toolchain.distill_command")

import dataclasses
import importlib
import os
from pathlib import Path

import click

from efq.runtime.commands.options import DEVICE, IMAGES, PATH, SEED, TEXT, THREADS, FiniteFloat, refuse_unused
from efq.runtime.console import efq_command, log, progress
from efq.runtime.errors import UsageError
from efq.runtime.files import refuse_inputs, reserved
from efq.runtime.targets import find_target, targets
from efq.toolchain.data.identities import IdentityLevel
from efq.toolchain.face_options import identity_level_option
from efq.toolchain.licence_options import label_options, licence_options
from efq.toolchain.recipes.recipe import FULL_BITS, MOST_STEPS, RANGES, Recipe, load_recipe, recipe_names
from efq.toolchain.teacher_options import teacher_options

_REHEARSAL = "efq.export.rehearsal"  # as text, as the table of targets names exporters: no import runs up


@click.command()
@click.argument("teacher", type=PATH)
@click.option("--faces", required=True, type=PATH, help="Aligned faces by identity: a folder, .rec or .tar.")
@click.option("--list", "listing", type=PATH, help="Use only the images this file names.")
@identity_level_option
@click.option("--max-images", type=IMAGES, default=14_000, show_default=True, help="At most so many images.")
@click.option("--resize", is_flag=True, help="Stretch images of another size instead of refusing them.")
@click.option(
    "--backbone", type=TEXT, help="The teacher's network; found by its keys when left out. Also package.module:factory."
)
@teacher_options
@click.option(
    "--recipe",
    "recipe_name",
    type=TEXT,
    default="mixed",
    show_default=True,
    help=f"{', '.join(recipe_names())}, or a TOML file.",
)
@click.option("--steps", type=click.IntRange(0, MOST_STEPS), help="Optimizer steps instead of the recipe's.")
@click.option(
    "--learning-rate", type=FiniteFloat(*RANGES["learning_rate"]), help="Peak learning rate instead of the recipe's."
)
@click.option(
    "--metric-weight",
    type=FiniteFloat(*RANGES["metric_weight"]),
    help="Weight of the evaluation-based metric loss instead of the recipe's.",
)
@click.option(
    "--keep-8bit",
    multiple=True,
    type=TEXT,
    metavar="PATTERN",
    help="Keep the layers of that name at 8 bits, output and weights, these at 7 without --full-range "
    "(efq-inspect lists them); repeatable.",
)
@click.option(
    "--full-range",
    is_flag=True,
    help="8-bit weights instead of 7-bit ones in int8 tensors: for CPUs with VNNI only, elsewhere slower or refused.",
)
@click.option("-o", "--output", required=True, type=PATH, help="The student file to write.")
@click.option(
    "--target", type=TEXT, help="The runtime to rehearse the export for; the first that takes the recipe's form."
)
@click.option("--allow-float", is_flag=True, help="Train even when multiply-adds of the student would run in float.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run of the same options.")
@click.option("--force", is_flag=True, help="Replace an existing student file.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--device", type=DEVICE, default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--threads", type=THREADS, help="CPU threads; all cores when left out.")
@licence_options
@label_options
@efq_command
def main(
    teacher: Path,
    faces: Path,
    listing: Path | None,
    identity_level: IdentityLevel | None,
    max_images: int,
    resize: bool,
    backbone: str | None,
    teacher_input: str | None,
    accept_teacher: bool,
    recipe_name: str,
    steps: int | None,
    learning_rate: float | None,
    metric_weight: float | None,
    keep_8bit: tuple[str, ...],
    full_range: bool,
    output: Path,
    target: str | None,
    allow_float: bool,
    resume: bool,
    force: bool,
    seed: int,
    device: str,
    threads: int | None,
    teacher_licence: str | None,
    data_licence: str,
    data_name: str | None,
    licence: str | None,
    licence_reason: str | None,
) -> None:
    """Make an integer-native student of the float checkpoint TEACHER.

    The student is lowered (BatchNorm folded, PReLU replaced, quantizers on every tensor an integer kernel reads), then
    fine-tuned so that its embeddings become the teacher's. Export it with efq-export; before anything is trained that
    is rehearsed with an untrained student, so that a network that cannot be exported is refused at once.
    """
    recipe = _recipe(recipe_name, steps, learning_rate, metric_weight, keep_8bit, full_range=full_range)

    if recipe.steps == 0:
        refuse_unused(("learning_rate", "metric_weight", "resume"), "without a step of training")
    target = _target(target, recipe)
    inputs = {"the teacher": teacher, "the faces": faces, "the list": listing, "the recipe": Path(recipe_name)}
    refuse_inputs(output, inputs)
    is_first = int(os.environ.get("RANK", "0")) == 0  # of the processes of torchrun the one that writes
    if is_first:
        click.get_current_context().with_resource(reserved(output, replace=force or resume))

    import torch

    from efq.toolchain.data import open_faces
    from efq.toolchain.distillation import Licences, distill, reuse_freed_memory
    from efq.toolchain.distillation.licences import find_origin
    from efq.toolchain.teachers import open_teacher

    reuse_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    loaded = open_teacher(teacher, backbone, teacher_input)
    licences = Licences(
        teacher=teacher_licence, data=data_licence, student=licence, reason=licence_reason, dataset=data_name
    )
    origin = find_origin(loaded, licences)  # before any work: what is refused of them is known at once
    if is_first and not resume:  # a run that is resumed was rehearsed when it began
        importlib.import_module(_REHEARSAL).rehearse(loaded, recipe, target, allow_float=allow_float)
    found = open_faces(
        faces,
        listing=listing,
        identity_level=identity_level,
        max_images=max_images,
        contract=loaded.contract,
        resize=resize,
        seed=seed,
        progress=progress,
    )
    log(f"{loaded.name}: recipe {recipe.name}; licence of the student: {origin.licence}")
    distill(
        loaded,
        found,
        recipe,
        output,
        seed=seed,
        device=device,
        resume=resume,
        replace=force or resume,
        accept_teacher=accept_teacher,
        licences=licences,
        progress=progress,
    )
    log(f"wrote {output}; export it with: efq-export {output} {_export_options(recipe, target)} -o DIR")


def _target(name: str | None, recipe: Recipe) -> str:
    """The target of that name, or the first one that takes a student as it is trained."""
    if name is not None:
        return find_target(name).name
    return next(row.name for row in targets().values() if row.symmetric_activations == recipe.symmetric_activations)


def _export_options(recipe: Recipe, target: str) -> str:
    """Those that export the student as it was trained."""
    full_range = " --full-range" if recipe.full_range and not recipe.symmetric_activations else ""
    return f"--bits {recipe.weight_bits} --target {target}{full_range}"


def _recipe(
    name: str,
    steps: int | None,
    learning_rate: float | None,
    metric_weight: float | None,
    keep_8bit: tuple[str, ...],
    *,
    full_range: bool,
) -> Recipe:
    recipe = load_recipe(name)
    if full_range and recipe.widest_weight_bits == FULL_BITS:
        message = f"expected a recipe with 7-bit weights for --full-range, found {name}, which has 8 bits: leave it out"
        raise UsageError(message)
    changes = {"steps": steps, "learning_rate": learning_rate, "metric_weight": metric_weight}
    return dataclasses.replace(
        recipe,
        keep_8bit=recipe.keep_8bit + keep_8bit,
        full_range=recipe.full_range or full_range,
        **{key: value for key, value in changes.items() if value is not None},  # type: ignore[arg-type]
    )
