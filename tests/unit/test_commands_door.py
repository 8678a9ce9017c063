"""The door of the commands: signals and streams, on a command of a few lines in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = """
import hashlib, sys, time
from pathlib import Path
if "import" in sys.argv:
    print("ready", flush=True)
    time.sleep(30)
import click
from efq.runtime.console import efq_command, log, progress
from efq.runtime.errors import InputError
from efq.runtime.files import atomic_file

@click.command()
@click.argument("way")
@efq_command
def main(way):
    with atomic_file(Path("out")) as temporary:
        temporary.write_text("result")
        log("a line of the log")
        with progress("working", 3) as shown:
            shown.advance()
        if way == "work":
            print("ready", flush=True)
            while True:
                try:
                    time.sleep(30)
                except BaseException:  # as a library might
                    pass
        if way == "library":
            print("ready", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # minutes between two steps of Python
    print("\\u00fc done")
    if way == "fail":
        raise InputError("expected a, found b")
"""
ENDINGS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
STREAMS = {
    '"$@" 2>&-': 0,
    '"$@" 2>/dev/full': 0,
    '"$@" >&-': 0,
    '"$@" >/dev/full': 1,
    'set -o pipefail; "$@" | true': 0,
    '"$@" <&- >&- 2>&-': 0,
    '"$@" >/dev/full 2>/dev/full': 1,
    'PYTHONIOENCODING=ascii:strict "$@"': 0,
    'PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 LC_ALL=C "$@"': 0,
}


def words(folder: Path, way: str) -> list[str]:
    (folder / "small_command.py").write_text(COMMAND)
    code = "from efq.runtime.commands.entry import run; run('small_command')"
    return [sys.executable, "-c", code, way]


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize("number", ENDINGS)
@pytest.mark.parametrize("way", ["import", "work", "library"])
def test_a_signal_ends_a_command_with_one_line(way: str, number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        words(tmp_path, way),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # it may be ignored here, as under nohup
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05)
        process.send_signal(number)
        try:
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == ENDINGS[number]
    assert errors.splitlines()[-1].startswith(("interrupted", "terminated"))
    assert "Traceback" not in errors
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"small_command.py"}


@pytest.mark.parametrize(("script", "code"), STREAMS.items())
def test_a_result_is_written_whatever_the_streams_are(script: str, code: int, tmp_path: Path) -> None:
    run = subprocess.run(
        ["bash", "-c", script, "bash", *words(tmp_path, "succeed")],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        check=False,
    )
    assert run.returncode == code, run.stderr
    assert (tmp_path / "out").read_text() == "result"
    assert not any(word in run.stderr for word in (b"Traceback", b"Exception ignored", b"lost sys"))


def test_an_error_keeps_its_exit_code_without_streams(tmp_path: Path) -> None:
    for script in ('"$@" 2>&- >&-', '"$@" 2>/dev/full >/dev/full', 'set -o pipefail; "$@" 2>&1 | true'):
        command = ["bash", "-c", script, "bash", *words(tmp_path, "fail")]
        run = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), check=False)
        assert run.returncode == 1
