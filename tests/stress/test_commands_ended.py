"""Commands that are interrupted, killed or out of room: tests/scripts, for a few runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from failing_writes import supported

FOLDER = Path(__file__).parents[1] / "scripts"
SCRIPTS = {
    "interrupted": ("interrupt.py", "--command", "embed", "--count", "2", "--new", "0.5"),
    "killed in bulk": ("interrupt.py", "--command", "bulk", "--signal", "KILL", "--count", "3"),
    "out of room": ("full_disk.py", "--command", "embed", "--most", "2"),
}


@pytest.mark.slow
@pytest.mark.skipif(not supported(), reason="needs pidfd and seccomp's user notification of Linux on x86-64")
@pytest.mark.parametrize("name", SCRIPTS)
def test_no_trial_breaks(name: str) -> None:
    script, *more = SCRIPTS[name]
    run = subprocess.run([sys.executable, str(FOLDER / script), *more], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
