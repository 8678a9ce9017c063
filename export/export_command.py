"""efq-export: a student becomes an artifact that an integer runtime serves."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.export.export_command")

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from efq.export.engine_options import engine_options, engine_settings
from efq.export.serving.kind import check_interface
from efq.export.serving.options import Serving, serving_of, serving_options
from efq.runtime.commands.options import PATH, TEXT, refuse_unused
from efq.runtime.console import efq_command, log, progress
from efq.runtime.errors import UsageError
from efq.runtime.faces.interface import EXPECTED, USUAL, Interface
from efq.runtime.files import refuse_inputs, reserved, temporary_folder
from efq.toolchain.data.identities import IdentityLevel
from efq.toolchain.face_options import identity_level_option
from efq.toolchain.licence_options import label_options, licence_options
from efq.toolchain.teacher_options import teacher_options

if TYPE_CHECKING:
    from efq.toolchain.distillation import Licences

_ASK = (
    "nothing says yet what this artifact costs beside its teacher, nor which threshold it needs. On faces it has not "
    "seen: efq-bench {} --teacher TEACHER --faces FACES --certify -o report; or say why not: --uncertified REASON"
)
_OF_CALIBRATION = (
    *("calibrate", "listing", "identity_level", "recipe", "backbone", "teacher_input", "accept_teacher"),
    *("teacher_licence", "data_licence", "data_name"),
)


@click.command()
@click.argument("model", type=PATH)
@click.option(
    "--bits",
    type=click.IntRange(2, 8),
    default=8,
    show_default=True,
    help="Bits of the weights (8: int8, of which 7 are used on CPUs); 4 or fewer buy size, none buys speed.",
)
@click.option("--target", type=TEXT, default="ort-cpu", show_default=True, help="The runtime to export for.")
@click.option("-o", "--output", type=PATH, help="The artifact folder to write.")
@click.option("--calibrate", type=PATH, help="Quantize a float MODEL on these faces.")
@click.option("--list", "listing", type=PATH, help="Calibrate only on the images this file names.")
@identity_level_option
@click.option("--resize", is_flag=True, help="With --calibrate: stretch images of another size than the network's.")
@click.option(
    "--recipe", type=TEXT, default="prelu", show_default=True, help="With --calibrate: the recipe to lower by."
)
@click.option(
    "--backbone", type=TEXT, help="With --calibrate: the float model's network; found by its keys when left out."
)
@teacher_options
@licence_options
@label_options
@click.option(
    "--interface",
    "interface_text",
    type=TEXT,
    metavar="FORM[,...]",
    help=f"What the graph takes: {EXPECTED}.  [default: {USUAL}]",
)
@click.option("--name", type=TEXT, help="Name of the artifact.")
@click.option(
    "--full-range",
    is_flag=True,
    help="Keep all 8 bits of a student made with them: for CPUs with VNNI only, elsewhere slower or refused.",
)
@click.option(
    "--no-near-hashes",
    is_flag=True,
    help="Leave out the hashes that know training images again compressed or resized: they hold blurred faces.",
)
@engine_options
@serving_options
@click.option(
    "--uncertified",
    type=TEXT,
    metavar="REASON",
    help="Why this artifact needs no certificate (efq-bench --certify); kept with it, on one line.",
)
@click.option("--allow-float", is_flag=True, help="Write the artifact even when multiply-adds run in float.")
@click.option("--force", is_flag=True, help="Replace an existing artifact folder.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing; -o is only checked.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@efq_command
def main(
    model: Path,
    bits: int,
    target: str,
    output: Path | None,
    calibrate: Path | None,
    listing: Path | None,
    identity_level: IdentityLevel | None,
    resize: bool,
    recipe: str,
    backbone: str | None,
    teacher_input: str | None,
    accept_teacher: bool,
    teacher_licence: str | None,
    data_licence: str,
    data_name: str | None,
    licence: str | None,
    licence_reason: str | None,
    interface_text: str | None,
    name: str | None,
    full_range: bool,
    uncertified: str | None,
    no_near_hashes: bool,
    allow_float: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Export MODEL, a student made by efq-distill, for an integer runtime, and for the servers that are named.

    The artifact folder holds the ONNX graph, a manifest, checksums and a model card. Exit code 3: multiply-adds would
    run in float. A float checkpoint is refused, unless --calibrate quantizes it without training. For a server MODEL
    may be an artifact, too. What the artifact costs beside its teacher is certified by efq-bench --certify.
    """
    serving = serving_of(values)
    if model.is_dir() and serving.places:
        refuse_unused(_OF_STUDENTS | values.keys(), f"with {model}, an artifact, which is only laid out for servers")
        _serve(model, serving, force=force)
        return
    if output is None and not dry_run and not serving.places:
        message = "expected the artifact folder to write: add -o DIR, a server to write for, or --dry-run"
        raise UsageError(message)
    if output is not None:
        inputs = {"the model": model, "the faces": calibrate, "the list": listing, "the recipe": Path(recipe)}
        refuse_inputs(output, inputs)
        click.get_current_context().with_resource(reserved(output, replace=force, folder=True))

    from efq.export.exporter import check_bits, export_student
    from efq.export.plan import export_plan
    from efq.export.targets import find_target
    from efq.toolchain.distillation import Licences

    interface = _interface(interface_text, serving)
    found = find_target(target)
    found.check_interface(interface)
    engine = engine_settings(target, builds_engine=found.builds_engine, **values)
    wide = full_range or not found.products_saturate
    teacher = _TeacherOptions(backbone=backbone, input=teacher_input, accept=accept_teacher, resize=resize)
    licences = Licences(
        teacher=teacher_licence, data=data_licence, student=licence, reason=licence_reason, dataset=data_name
    )
    student = _student(
        model,
        calibrate,
        listing,
        identity_level,
        recipe,
        teacher,
        licences,
        target,
        full_range=wide,
        allow_float=allow_float,
    )
    if no_near_hashes:
        student = dataclasses.replace(student, training_near_hashes=None)
    check_bits(student, bits)
    if dry_run:
        _print_plan(export_plan(student, found, full_range=full_range, interface=interface), as_json)
        return
    place = output or click.get_current_context().with_resource(temporary_folder("efq-serve")) / "artifact"
    result = export_student(
        student,
        found,
        place,
        bits=bits,
        full_range=full_range,
        name=name,
        allow_float=allow_float,
        force=force,
        interface=interface,
        engine=engine,
        uncertified=uncertified,
        progress=progress,
    )
    if uncertified is None:
        log(f"uncertified: {_ASK.format(output or '-o DIR')}")
    _serve(place, serving, force=force)
    if as_json:
        print(json.dumps(result.to_dict() | {"directory": None if output is None else str(output)}))
        return
    print(result.coverage or "Integer coverage: not measured, as no engine was built")
    if result.engine is not None:
        print(f"engine: {result.engine['plan_bytes']:,} bytes, built in {result.engine['build_seconds']} s")
    for sentence in (*result.notes, *found.bit_sentences(result.manifest)):
        print(sentence)
    if output is not None:
        tried = f"efq-embed {output} FACE.jpg -o out.npz"
        print(f"wrote {output}: model.onnx has {result.model_bytes:,} bytes; try: {tried}")


_OF_STUDENTS = frozenset(
    {
        *_OF_CALIBRATION,
        *("bits", "target", "output", "licence", "licence_reason", "interface_text", "name", "full_range"),
        *("no_near_hashes", "allow_float", "uncertified", "dry_run"),
    }
)
"""Parameters that do nothing with an artifact, besides those of engines."""


def _interface(text: str | None, serving: Serving) -> Interface:
    """What is asked for, else what the servers feed. Raises UsageError for one that they do not feed."""
    if text is None:
        return serving.interface or USUAL
    asked = Interface.parse(text)
    for kind, _ in serving.places:
        check_interface(kind, asked)
    return asked


def _serve(artifact: Path, serving: Serving, *, force: bool) -> None:
    """Lay the artifact out for each server and say where. Raises what `efq.export.serving.serve` raises."""
    from efq.export.serving.serve import serve

    for kind, place in serving.places:
        serve(artifact, kind, place, serving.options, force=force)
        log(f"wrote {place} for {kind.title}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _TeacherOptions:
    """Options on a float model."""

    backbone: str | None
    input: str | None
    accept: bool
    resize: bool


def _student(
    model: Path,
    calibrate: Path | None,
    listing: Path | None,
    identity_level: IdentityLevel | None,
    recipe: str,
    options: _TeacherOptions,
    licences: Licences,
    target: str,
    *,
    full_range: bool,
    allow_float: bool,
) -> Any:
    from efq.export.rehearsal import rehearse
    from efq.toolchain.distillation.calibrate import calibrate_teacher, lowering_recipe
    from efq.toolchain.distillation.licences import find_origin, relabel
    from efq.toolchain.networks import network_kind
    from efq.toolchain.student import load_student
    from efq.toolchain.teachers import open_teacher

    kind = network_kind(model)
    if kind == "student":
        refuse_unused(_OF_CALIBRATION, f"with {model}, which is a student and needs no calibration")
    if kind != "teacher":
        student = load_student(model)  # a folder is refused there
        return relabel(student, licences.student, licences.reason)
    if calibrate is None:
        message = (
            f"expected a student, found the float checkpoint {model}: make a student with "
            f"efq-distill {model} --faces FACES -o student.pt, or quantize it without training with --calibrate FACES"
        )
        raise UsageError(message)
    teacher = open_teacher(model, options.backbone, options.input)
    find_origin(teacher, licences)  # before any work: what is refused of them is known at once
    rehearse(teacher, lowering_recipe(recipe, full_range=full_range), target, allow_float=allow_float)
    student, _ = calibrate_teacher(
        teacher,
        calibrate,
        listing=listing,
        identity_level=identity_level,
        recipe=recipe,
        full_range=full_range,
        accept_teacher=options.accept,
        resize=options.resize,
        licences=licences,
        progress=progress,
    )
    log("quantized without training; efq-distill pays the difference to the float model back")
    return student


def _print_plan(plan: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(plan))
        return
    for key, value in plan.items():
        shown = ", ".join(f"{name} {count}" for name, count in value.items()) if isinstance(value, dict) else value
        print(f"{key:14} {shown:,}" if isinstance(shown, int) else f"{key:14} {shown}")
