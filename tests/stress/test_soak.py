"""A short soak: many reopenings and calls from 32 threads are in soak.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from soak import Part, Use

SCRIPT = Path(__file__).parents[1] / "scripts" / "soak.py"


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads Linux's counts")
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_threads_files_and_memory_stay_as_they_are(tiny_artifact: Path, backend: str) -> None:
    pytest.importorskip(backend)
    options = ["--backend", backend, "--reopenings", "20", "--calls", "640", "--growth", "16"]
    done = subprocess.run(
        [sys.executable, SCRIPT, "--artifact", tiny_artifact, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("threads", "files", "megabytes", "wrong", "found"),
    [
        (0.0, 0.0, 0.0, 0, ""),
        (0.1, 0.0, 0.0, 0, "threads"),
        (0.0, 0.1, 0.0, 0, "files"),
        (0.0, 0.0, 0.1, 0, "memory"),
        (0.0, 0.0, 0.0, 3, "3 wrong"),
    ],
)
def test_what_a_soak_finds(threads: float, files: float, megabytes: float, wrong: int, found: str) -> None:
    """A rise by so much at each reopening, among noise."""
    noise = np.random.default_rng(0).integers(0, 2, 90)
    uses = [
        Use(
            threads=int(5 + threads * number + extra),
            files=int(9 + files * number),
            resident=int((90 + megabytes * number + extra) * 1e6),
        )
        for number, extra in enumerate(noise)
    ]
    problems = Part(name="reopenings", count=90, wrong=wrong, seconds=1.0, uses=uses).problems(largest_growth=4.0)
    assert len(problems) == bool(found)
    assert all(found in problem for problem in problems)
