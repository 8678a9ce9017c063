"""What it costs to serve the first image with each runtime: `python -m efq.benchmarks.timing.native_start ARTIFACT`.

Processes of their own, in turn: CPU time from the interpreter's start to the embedding, and resident memory then. The
first rows are of processes that go less far, so that what a runtime adds can be told from what all have.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import EfqError

_OPENED = """
import sys, numpy
from efq.runtime import Artifact, Embedder
Artifact.open(sys.argv[1])
"""
_SERVE = """
import sys, numpy
from efq.runtime import Embedder
embedder = Embedder.open(sys.argv[1], threads=1, backend={!r})
height, width = embedder.contract.height, embedder.contract.width
image = (numpy.arange(height * width * 3) * 37 % 251).astype(numpy.uint8).reshape(1, height, width, 3)
embedder.embed(image)
"""
_REPORT = """
import time
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(time.process_time(), int(lines["VmRSS"].split()[0]) / 1024)
"""


def start(programs: Mapping[str, str], artifact: Path, rounds: int) -> dict[str, NDArray[np.float64]]:
    """For each program (rounds, 2): seconds of CPU time, MiB resident. Raises EfqError for one that fails."""
    found: dict[str, list[list[float]]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as compiled:  # as an installed package is, wherever this one comes from
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled
        for _ in range(1 + rounds):
            for name, program in programs.items():
                command = [sys.executable, "-c", program + _REPORT, str(artifact)]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                if done.returncode:
                    message = f"{name}: its process ended with {done.returncode}: {done.stderr.strip()[-300:]}"
                    raise EfqError(message)
                found[name].append([float(number) for number in done.stdout.split()])
    return {name: np.array(rows[1:]) for name, rows in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print medians, and their ratios to the first backend's: in all, and of what it adds to Python with NumPy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--backends", nargs="+", default=["native", "onnxruntime"])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    base = {"python, numpy": "import numpy", "and an artifact": _OPENED}
    programs = base | {name: _SERVE.format(name) for name in options.backends}
    medians = {name: np.median(rows, 0) for name, rows in start(programs, options.artifact, options.rounds).items()}
    least, first = medians["python, numpy"], medians[options.backends[0]]
    for name, found in medians.items():
        line = f"{name:16s} {found[0] * 1e3:6.0f} ms {found[1]:6.1f} MiB"
        if name not in base:
            whole, added = found / first, (found - least) / (first - least)
            line += f"   {whole[0]:.2f} x, {whole[1]:.2f} x; added {added[0]:.2f} x, {added[1]:.2f} x"
        print(line)


if __name__ == "__main__":
    main()
