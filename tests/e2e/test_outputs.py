"""Where -o of every command may not lead: refused before any work, with everything left as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from fuzz_options import state_of
from messages import names

from efq.benchmarks import bench_command
from efq.export import export_command
from efq.runtime import embed_command
from efq.toolchain import distill_command

COMMANDS: dict[str, tuple[click.Command, tuple[str, ...]]] = {
    "distill": (distill_command.main, ("teacher.pt", "--faces", "faces", "--list", "list.txt")),
    "export": (export_command.main, ("teacher.pt", "--calibrate", "faces", "--list", "list.txt")),
    "embed": (embed_command.main, ("artifact", "faces", "faces/p0/0.png", "--landmarks", "list.txt")),
    "bench": (bench_command.main, ("artifact", "--teacher", "teacher.pt", "--faces", "faces", "--list", "list.txt")),
}
NO_OUTPUT = {
    "the current folder": ".",
    "the folder above": "..",
    "the root": "/",
    "a device": "/dev/null",
    "a named pipe": "fifo",
    "a link to a named pipe": "to-fifo",
    "a circle of links": "loop",
    "below a file": "file/below",
    "below a link to a file": "to-file/below",
    "a long name": "a" * 300,
    "an input": "teacher.pt",
    "a link to an input": "to-teacher",
    "another name of an input": "same-teacher",
    "the list": "list.txt",
    "the faces": "faces",
    "nothing": "",
    "blanks": "  ",
}
IN_AN_ARTIFACT = ("artifact", "artifact/model.onnx", "artifact/new", "artifact/../artifact/new", "to-artifact/new")
HOLD = """
import sys
from pathlib import Path
from efq.runtime.files import reserved
with reserved(Path(sys.argv[1]), replace=True):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with inputs that are never read."""
    monkeypatch.chdir(tmp_path)
    for path in ("faces/p0/0.png", "artifact/model.onnx", "artifact/checksums.sha256"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("content")
    for path in ("teacher.pt", "list.txt", "file"):
        Path(path).write_text("content")
    for link, target in (("loop", "loop"), ("to-fifo", "fifo"), ("to-file", "file"), ("to-teacher", "teacher.pt")):
        Path(link).symlink_to(target)
    Path("to-artifact").symlink_to("artifact")
    Path("same-teacher").hardlink_to("teacher.pt")
    os.mkfifo("fifo")
    before = state_of(tmp_path)
    yield tmp_path
    assert state_of(tmp_path) == before


def run(name: str, output: str, *more: str) -> Result:
    command, words = COMMANDS[name]
    return CliRunner().invoke(command, [*words, *more, "-o", output])


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("place", NO_OUTPUT)
def test_places_that_are_no_output(name: str, place: str, work: Path) -> None:
    if place in ("the list", "the faces") and name == "embed":
        pytest.skip("its inputs are others")
    more = () if name == "embed" else ("--force",)
    result = run(name, NO_OUTPUT[place], *more)
    assert result.exit_code == 2, (result.output, result.exception)
    names(result.stderr, NO_OUTPUT[place])


@pytest.mark.parametrize("name", ["embed", "bench"])
@pytest.mark.parametrize("output", IN_AN_ARTIFACT)
def test_nothing_is_written_into_an_artifact(name: str, output: str, work: Path) -> None:
    result = run(name, output, *(() if name == "embed" else ("--force",)))
    assert result.exit_code == 2, (result.output, result.exception)
    names(result.stderr, output)


@pytest.mark.parametrize("name", ["distill", "export", "embed"])
def test_an_output_that_another_run_works_on_is_refused(name: str, work: Path) -> None:
    words = [sys.executable, "-c", HOLD, "out"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        result = run(name, "out")
        assert result.exit_code == 2, (result.output, result.exception)
        names(result.stderr, "out")
        other.communicate("")
