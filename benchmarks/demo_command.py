"""efq-demo: the whole chain, from faces to an integer artifact and a page that shows what it can do."""

from __future__ import annotations

if __name__ == "__main__":  # as the installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.demo_command")

import importlib.util
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from efq.runtime.commands.options import PATH, SEED
from efq.runtime.console import efq_command, log, progress
from efq.runtime.errors import MissingDependencyError
from efq.runtime.files import atomic_directory, atomic_write_text

if TYPE_CHECKING:
    from efq.benchmarks.demo.result import DemoResult

MARKER = ".efq-demo"
PAGE = "index.html"


@click.command("efq-demo", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "--output", default="demo-output", show_default=True, type=PATH, help="Folder to write.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Of faces, teacher and student.")
@click.option(
    "--quick", is_flag=True, help="Far fewer faces and steps: shows the chain in under a minute, not accuracy."
)
@click.option("--force", is_flag=True, help="Replace the output folder even when it was not made by efq-demo.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")
@efq_command
def main(output: Path, seed: int, quick: bool, force: bool, as_json: bool) -> None:
    """Draw faces, train a teacher, distil a student, export it, measure it and write a page about it.

    With EFQ_FACES set to a kit of real faces these and its MobileFaceNet take the place of drawn faces and teacher.
    An output folder made by efq-demo is replaced.
    """
    _require_train_packages()
    # Read by OpenMP when torch is loaded: on a busy machine threads that spin make training many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from efq.benchmarks.demo.chain import run_demo
    from efq.benchmarks.demo.settings import DEFAULT, QUICK

    faces = os.environ.get("EFQ_FACES")
    with atomic_directory(output, force=force or (output / MARKER).is_file()) as folder:
        command = shlex.join(["efq-demo", *sys.argv[1:]])
        result, page = run_demo(
            folder,
            QUICK if quick else DEFAULT,
            faces=Path(faces) if faces else None,
            seed=seed,
            command=command,
            progress=progress,
        )
        atomic_write_text(folder / PAGE, page)
        atomic_write_text(folder / MARKER, "Made by efq-demo, which replaces this folder when it runs again.\n")
    log(f"page: {output / PAGE}")
    if as_json:
        click.echo(json.dumps(result.to_dict() | {"output": str(output)}, ensure_ascii=False, allow_nan=False))
    else:
        _print(result, output)


def _require_train_packages() -> None:
    """Raise MissingDependencyError unless what trains, exports and draws plots is installed."""
    missing = [name for name in ("torch", "onnx", "onnx_ir", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        message = f"efq-demo needs {', '.join(missing)}; install with: pip install 'efq[train]'"
        raise MissingDependencyError(message)


def _print(result: DemoResult, output: Path) -> None:
    from efq.benchmarks.demo.result import summary_table

    header, *rows = summary_table(result)
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells))
    click.echo(
        f"\n{100 * result.multiply_add_fraction:.4g} % of multiply-adds in integer kernels; "
        f"{result.seconds:.0f} s in all. Page: {output / PAGE}"
    )
