"""A short run of tests/scripts/fault_stores.py: a gallery's file after kills, damage and full disks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "fault_stores.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs fork and select on pipes")
@pytest.mark.parametrize("options", [("--kills", "15"), ("--damages", "100")], ids=lambda options: options[0])
def test_faults(options: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, *options, "--seed", "5"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a namespace of its own")
def test_full_disks() -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces of users are not allowed here")
    words = ["unshare", "-rm", sys.executable, str(SCRIPT), "--full", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
