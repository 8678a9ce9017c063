"""The students of `distill_iresnets` as engines beside their teachers': exported and benchmarked on this GPU.

`python -m efq.benchmarks.gpu.bench_students DIR --target trt -o OUT`
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.gpu.bench_students")

import json
import shlex
from pathlib import Path
from typing import Any

import click

from efq.benchmarks.gpu.distill_iresnets import REPORT
from efq.benchmarks.gpu.steps import run_step, write_report
from efq.runtime.commands.options import DEVICE, PATH, TEXT
from efq.runtime.console import efq_command
from efq.runtime.errors import InputError
from efq.runtime.tensorrt.module import TARGETS


@click.command()
@click.argument("students", metavar="DIR", type=PATH)
@click.option("--target", required=True, type=click.Choice(TARGETS), help="Which TensorRT.")
@click.option("--backbone", type=TEXT, help="The teachers' network; found by their keys when left out.")
@click.option(
    "--batch", type=TEXT, default="1,8,64", show_default=True, help="Least, optimal and largest batch; all are timed."
)
@click.option("--device", type=DEVICE, default="cuda:0", show_default=True, help="cuda:N.")
@click.option("--faces", type=PATH, help="Aligned faces, for accuracy.")
@click.option("--list", "listing", type=PATH, help="The images of --faces to compare.")
@click.option("-o", "--output", required=True, type=PATH, help="Folder of artifacts, reports and report.json.")
@click.option("--dry-run", is_flag=True, help="Print the commands, run none.")
@efq_command
def main(
    students: Path,
    target: str,
    backbone: str | None,
    batch: str,
    device: str,
    faces: Path | None,
    listing: Path | None,
    output: Path,
    dry_run: bool,
) -> None:
    """Export every student in DIR/report.json, and time its INT8 engine beside its teacher's in float16 and float32."""
    data = ["--faces", faces] if faces else []
    data += ["--list", listing] if listing else []
    data += ["--backbone", backbone] if backbone else []
    rows = []
    for network in read_networks(students / REPORT):
        artifact, report = output / network["network"], output / f"{network['network']}_report"
        export = ["efq-export", network["student"], "--target", target, "--batch", batch, "--device", device]
        bench = ["efq-bench", artifact, "--teacher", network["teacher"], "--target", target, "--batch", batch]
        export += ["--force", "-o", artifact]
        bench += ["--device", device, *data, "--json", "--force", "-o", report]
        if dry_run:
            for command in (export, bench):
                click.echo(shlex.join(str(word) for word in command))
            continue
        exported = run_step(export)
        measured = run_step(bench)
        rows.append(
            {
                "network": network["network"],
                "commands": [exported.command, measured.command],
                "export_seconds": round(exported.seconds, 1),
                "bench": measured.json(),
            }
        )
        write_report(output / REPORT, {"target": target, "networks": rows})
    if not dry_run:
        click.echo(f"recorded in {output / REPORT}")


def read_networks(path: Path) -> list[dict[str, Any]]:
    """The students and teachers of a report of `distill_iresnets`. Raises InputError when it is none."""
    try:
        networks = json.loads(path.read_text(encoding="utf-8"))["networks"]
        return [{key: str(row[key]) for key in ("network", "student", "teacher")} for row in networks]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"expected a report of distill_iresnets at {path}, found {error!r}; run that first"
        raise InputError(message) from error
