"""IResNet students distilled on a GPU: images a second, hours, accuracy on held-out people.

`python -m efq.benchmarks.gpu.distill_iresnets --teacher iresnet50.pt --teacher iresnet100.pt --faces FACES \\
    --list train.txt --dev-list dev.txt -o DIR` leaves students and report.json in DIR.
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.gpu.distill_iresnets")

import shlex
from pathlib import Path
from typing import Any

import click

from efq.benchmarks.gpu.steps import run_step, write_report
from efq.runtime.commands.options import DEVICE, PATH, TEXT
from efq.runtime.console import efq_command, log
from efq.runtime.errors import UsageError
from efq.toolchain.recipes.recipe import MOST_STEPS

NETWORKS = ("iresnet50", "iresnet100")
REPORT = "report.json"


@click.command()
@click.option("--teacher", "teachers", multiple=True, type=PATH, help="Float checkpoint; may be repeated.")
@click.option("--backbone", type=TEXT, help="The teachers' network; found by their keys when left out.")
@click.option("--random", is_flag=True, help="Teachers with random weights instead: for images a second alone.")
@click.option("--network", "networks", multiple=True, type=TEXT, help=f"Of --random.  [default: {', '.join(NETWORKS)}]")
@click.option("--faces", required=True, type=PATH, help="Aligned faces by identity.")
@click.option("--list", "listing", type=PATH, help="The fine-tuning images, one path a line.")
@click.option("--dev-list", type=PATH, help="The held-out images; without it accuracy is not measured.")
@click.option("--recipe", type=TEXT, default="tensorrt", show_default=True, help="A recipe's name or TOML file.")
@click.option("--steps", type=click.IntRange(1, MOST_STEPS), help="Optimizer steps instead of the recipe's.")
@click.option("--device", type=DEVICE, default="cuda", show_default=True, help="cuda, cuda:N, or cpu.")
@click.option("-o", "--output", required=True, type=PATH, help="Folder of students and report.json; a run goes on.")
@click.option("--dry-run", is_flag=True, help="Print the commands, run none.")
@efq_command
def main(
    teachers: tuple[Path, ...],
    backbone: str | None,
    random: bool,
    networks: tuple[str, ...],
    faces: Path,
    listing: Path | None,
    dev_list: Path | None,
    recipe: str,
    steps: int | None,
    device: str,
    output: Path,
    dry_run: bool,
) -> None:
    """Distil a student of each teacher, evaluate it beside the teacher, and record both.

    Students that are in the output folder already are not made again, and interrupted runs are resumed.
    """
    if bool(teachers) == random or (networks and not random):
        message = "expected either --teacher, once or more, or --random with --network; found both or neither"
        raise UsageError(message)
    if random and dev_list is not None:
        message = "expected no --dev-list with --random: the accuracy of random weights means nothing; leave it out"
        raise UsageError(message)
    names = networks or NETWORKS if random else [path.stem for path in teachers]
    if len(set(names)) < len(names):
        message = f"expected teachers of different file names, found {', '.join(names)}; rename one"
        raise UsageError(message)
    options = ["--backbone", backbone] if backbone else []
    accepted = ["--accept-teacher"] if random else []  # random weights need not tell people apart
    data = ["--faces", faces, *(["--list", listing] if listing else [])]
    schedule = ["--recipe", recipe, *(["--steps", steps] if steps else []), "--device", device]
    described = {} if dry_run else describe_device(device)
    rows = []
    for place, name in enumerate(names):
        teacher = output / f"{name}_random_teacher.pt" if random else teachers[place]
        student = output / f"{name}.pt"
        distil = ["efq-distill", teacher, *options, *accepted, *data, *schedule, "-o", student]
        evaluate = ["efq-evaluate", student, "--reference", teacher, *options, "--faces", faces, "--list", dev_list]
        evaluate += ["--device", device, "--json"]
        if dry_run:
            _show(distil)
            if dev_list is not None:
                _show(evaluate)
            continue
        if random:
            write_random_teacher(name, teacher)
        rows.append(_measure(name, teacher, student, distil, evaluate if dev_list is not None else None))
        write_report(output / REPORT, {"device": described, "random": random, "networks": rows})
    if not dry_run:
        click.echo(f"recorded in {output / REPORT}")


def write_random_teacher(network: str, path: Path) -> None:
    """A checkpoint of `network` with the weights that torch's seed 0 gives, unless it is there already."""
    import io

    import torch

    from efq.runtime.files import atomic_write_bytes
    from efq.toolchain.backbones import find_backbone

    backbone = find_backbone(network)
    if path.is_file():
        return
    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.save(backbone.build().state_dict(), buffer)
    atomic_write_bytes(path, buffer.getvalue())


def describe_device(name: str) -> dict[str, Any]:
    """What torch computes on. Raises DeviceError when it is not there."""
    import torch

    from efq.toolchain.networks import torch_device

    device = torch_device(name)
    found: dict[str, Any] = {"device": str(device), "torch": torch.__version__, "torch_cuda": torch.version.cuda}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"gpu": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        found |= {"cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    return found


def _measure(name: str, teacher: Path, student: Path, distil: list[Any], evaluate: list[Any] | None) -> dict[str, Any]:
    from efq.toolchain.student import load_student

    row: dict[str, Any] = {"network": name, "teacher": str(teacher), "student": str(student)}
    if student.is_file():
        log(f"{student} is there already")
    else:
        resumed = ["--resume"] if student.with_name(f"{student.name}.resume").is_file() else []
        finished = run_step([*distil, *resumed])
        row |= {"command": finished.command, "wall_seconds": round(finished.seconds, 1)}
    training = load_student(student).training
    row |= {
        "training": dict(training),
        "images_per_second": round(training["images"] / training["seconds"], 1) if training["seconds"] else None,
        "hours": round(training["seconds"] / 3600, 3),
        "accuracy": None if evaluate is None else run_step(evaluate).json(),
    }
    return row


def _show(command: list[Any]) -> None:
    click.echo(shlex.join(str(word) for word in command))
