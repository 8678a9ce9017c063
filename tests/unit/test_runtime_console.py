from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner
from messages import names

from efq.runtime import errors
from efq.runtime.console import efq_command, progress

EXIT_CODES = {
    errors.EfqError: 1,
    errors.InputError: 1,
    errors.CheckpointError: 1,
    errors.UsageError: 2,
    errors.GateError: 3,
    errors.ParityError: 3,
    errors.DeviceError: 4,
    errors.MissingDependencyError: 4,
    errors.SchemaError: 5,
    errors.ChecksumError: 5,
}


def run_raising(error: BaseException) -> tuple[int, str, str]:
    @click.command()
    @efq_command
    def command() -> None:
        raise error

    result = CliRunner().invoke(command, [])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(("error", "code"), EXIT_CODES.items())
def test_an_error_ends_with_its_exit_code_and_a_line_on_stderr(error: type[errors.EfqError], code: int) -> None:
    assert run_raising(error("expected a, found b")) == (code, "", "error: expected a, found b\n")


def test_names_of_files_do_not_steer_the_terminal() -> None:
    found = run_raising(errors.InputError("found \x1b[31m\r\x07\x9b of 人物\n  in \tx"))[2]
    assert found == "error: found \\x1b[31m\\x0d\\x07\\x9b of 人物\n  in \tx\n"


def test_an_interrupt_ends_with_130() -> None:
    assert run_raising(KeyboardInterrupt())[0] == 130


def test_progress_without_a_terminal_is_plain_lines_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 2.0, 6.0, 8.0, 10.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with progress("distil", 40, "images") as shown:
        shown.advance(10, loss=0.5)
        shown.advance(10, loss=0.25)
        shown.advance(10)
    captured = capsys.readouterr()
    assert captured.out == ""
    halfway, last = captured.err.splitlines()
    names(halfway, "distil", "20/40 images", "3.33 images/s", "loss 0.25", "6 s")
    names(last, "distil", "30/40 images", "3 images/s", "loss 0.25", "10 s")


def test_progress_on_a_terminal_is_a_bar_with_its_fields(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with progress("distil", 40, "images") as shown:
        shown.advance(40, loss=0.25, stage="relu")
    error_output = capsys.readouterr().err
    assert all(shown in error_output for shown in ("40/40", "loss 0.25", "stage relu"))
