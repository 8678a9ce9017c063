"""efq-inspect: what a teacher, a student or an artifact consists of, and what quantizing each layer costs."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.export.inspect_command")

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from efq.runtime.commands.options import IMAGES, PATH, TEXT, refuse_unused
from efq.runtime.console import efq_command, progress
from efq.runtime.errors import UsageError
from efq.toolchain.data.identities import IdentityLevel
from efq.toolchain.face_options import identity_level_option
from efq.toolchain.teacher_options import teacher_input_option


@click.command()
@click.argument("model", type=PATH)
@click.option("--backbone", type=TEXT, help="Of a teacher: a registered name or package.module:factory.")
@teacher_input_option
@click.option("--sensitivity", is_flag=True, help="Rank a student's layers by what quantizing each alone costs.")
@click.option("--faces", type=PATH, help="With --sensitivity: aligned faces.")
@click.option("--list", "listing", type=PATH, help="With --sensitivity: use only the images this file names.")
@identity_level_option
@click.option("--bits", type=click.IntRange(2, 8), help="With --sensitivity: the weights alone, as if of so many bits.")
@click.option(
    "--max-images",
    type=IMAGES,
    default=64,
    show_default=True,
    help="With --sensitivity: at most so many of the faces.",
)
@click.option(
    "--probe",
    type=PATH,
    metavar="EMBEDDING",
    help="An artifact's: compare the embedding that your pipeline gives for its probe.png, d numbers in a text file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@efq_command
def main(
    model: Path,
    backbone: str | None,
    teacher_input: str | None,
    sensitivity: bool,
    faces: Path | None,
    listing: Path | None,
    identity_level: IdentityLevel | None,
    bits: int | None,
    max_images: int,
    probe: Path | None,
    as_json: bool,
) -> None:
    """Describe MODEL: a teacher's input and operations, or a student's or an artifact's layers, bits, sizes, coverage.

    An artifact's probe image is embedded here and compared with what it was at export.

    With --sensitivity each quantizer of the student is switched on alone; its cost is 1 - cosine to the student with
    all of them off. Layers that cost much can be kept with efq-distill --keep-8bit.
    """
    if not sensitivity:
        refuse_unused(("faces", "listing", "identity_level", "bits", "max_images"), "without --sensitivity")
    elif faces is None:
        message = "expected the faces to measure --sensitivity on, found none: add --faces FACES"
        raise UsageError(message)
    if model.is_dir() and sensitivity:
        message = f"expected a student file for --sensitivity, found the artifact {model}: name the student.pt"
        raise UsageError(message)
    if probe is not None and not model.is_dir():
        message = f"expected an artifact folder for --probe, found {model}: name the folder that efq-export wrote"
        raise UsageError(message)
    from efq.export.inspection.inspect import inspect

    found = inspect(model, backbone=backbone, teacher_input=teacher_input, embedding=probe)
    if faces is not None:
        found["sensitivity"] = _sensitivity(model, faces, listing, identity_level, max_images, bits)
    if as_json:
        print(json.dumps(found))
        return
    _print(found)


def _sensitivity(
    path: Path,
    faces: Path,
    listing: Path | None,
    identity_level: IdentityLevel | None,
    max_images: int,
    bits: int | None,
) -> list[dict[str, Any]]:
    import numpy as np
    import torch

    from efq.toolchain.data import open_faces
    from efq.toolchain.lowering.quantization.sensitivity import layer_costs
    from efq.toolchain.student import load_student

    student = load_student(path)
    found = open_faces(
        faces,
        listing=listing,
        max_images=max_images,
        identity_level=identity_level,
        contract=student.contract,
        seed=0,
        progress=progress,
    )
    costs = layer_costs(student.network, torch.from_numpy(np.array(found.images)), weight_bits=bits)
    return [dataclasses.asdict(cost) for cost in sorted(costs, key=lambda cost: cost.cost, reverse=True)]


def _print(found: dict[str, Any]) -> None:
    for key, value in found.items():
        if key not in ("layers", "sensitivity", "notes", "training", "certificate"):
            shown = json.dumps(value) if isinstance(value, dict) else f"{value:,}" if isinstance(value, int) else value
            print(f"{key:15} {shown}")
    for key, value in found.get("certificate", {}).items():
        print(f"{'certificate':15} {key}: {value if isinstance(value, str) else json.dumps(value)}")
    for note in found.get("notes", ()) if "teacher" in found else ():
        print(f"{'note':15} {note}")
    if "layers" in found:
        print(f"\n{'layer':32} {'kind':16} {'shape':>18} {'bits':>4} {'bytes':>9}  output")
    for layer in found.get("layers", ()):
        shape = "x".join(map(str, layer["shape"]))
        print(
            f"{layer['layer']:32} {layer['kind']:16} {shape:>18} {layer['weight_bits'] or 32:>4} "
            f"{layer['weight_bytes']:>9,}  {layer['output_bits'] or 'float32'}"
        )
    if "sensitivity" in found:
        print(f"\n{'1 - cosine':>10}  bits  what is quantized alone")
    for cost in found.get("sensitivity", ()):
        part = "weights of" if cost["weights"] else "tensor"
        print(f"{cost['cost']:>10.6f}  {cost['bits']:>4}  {part} {cost['layer']}")
