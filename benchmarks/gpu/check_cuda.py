"""The CUDA seam and a real engine on a GPU, by each package that reaches one: `tests/gpu`, and a record of it.

`python -m efq.benchmarks.gpu.check_cuda -o check_cuda.json`, in a clone of the repository.
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.gpu.check_cuda")

import shlex
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import click

from efq.benchmarks.gpu.steps import write_report
from efq.runtime.commands.options import PATH
from efq.runtime.console import efq_command, log
from efq.runtime.cuda.seam import PACKAGES, open_cuda
from efq.runtime.errors import DeviceError, EfqError, UsageError

_TESTS = Path(__file__).resolve().parents[2] / "tests" / "gpu"


@click.command()
@click.option("-o", "--output", required=True, type=PATH, help="The JSON file.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and which packages reach a GPU; write nothing.")
@efq_command
def main(output: Path, dry_run: bool) -> None:
    """Run tests/gpu and record each test's outcome with the GPU, the driver and the versions.

    Streams, pinned copies, events and graph capture through cuda-python, pycuda and torch, and an engine of TensorRT
    and TensorRT-RTX, as far as they are installed. Exit code 4 without a GPU, 1 when a test fails.
    """
    if not _TESTS.is_dir():
        message = f"expected the GPU tests at {_TESTS}, found none: run this in a clone of EFQ's repository"
        raise UsageError(message)
    packages = {name: _reach(name) for name in PACKAGES}
    for name, found in packages.items():
        log(f"{name}: {found['gpu'] or found['reason']}")
    with tempfile.TemporaryDirectory(prefix="efq-gpu-") as folder:
        results = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-q", str(_TESTS), f"--junitxml={results}"]
        if dry_run:
            click.echo(shlex.join(command))
            return
        if not any(found["gpu"] for found in packages.values()):
            message = "expected a GPU that cuda-python, pycuda or torch reaches, found none: see above, and efq-doctor"
            raise DeviceError(message)
        subprocess.run(command, stdout=sys.stderr, check=False)
        tests = read_results(results)
    write_report(output, {"packages": packages, "tests": tests})
    outcomes = [test["outcome"] for test in tests]
    counts = ", ".join(f"{outcomes.count(name)} {name}" for name in ("passed", "failed", "skipped"))
    click.echo(f"{counts}; recorded in {output}")
    if "failed" in outcomes or "passed" not in outcomes:
        sys.exit(1)


def read_results(path: Path) -> list[dict[str, Any]]:
    """Name, outcome, seconds and reason of each test in pytest's JUnit file; nothing where it wrote none."""
    if not path.is_file():
        return []
    tests = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        ended = [child for child in case if child.tag in ("failure", "error", "skipped")]
        outcome = "passed" if not ended else "skipped" if ended[0].tag == "skipped" else "failed"
        tests.append(
            {
                "name": f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}",
                "outcome": outcome,
                "seconds": float(case.get("time", 0)),
                "reason": ended[0].get("message") if ended else None,
            }
        )
    return tests


def _reach(package: str) -> dict[str, Any]:
    """The GPU that the package reaches, or why it reaches none."""
    try:
        found = open_cuda("cuda:0", package).properties()
    except EfqError as error:
        return {"gpu": None, "reason": str(error)}
    driver, runtime = (".".join(map(str, version)) for version in (found.driver_version, found.runtime_version))
    return {"gpu": f"{found.name} ({found.sm})", "driver_cuda": driver, "runtime_cuda": runtime, "reason": None}
