"""The types that options share, and the door for options that would do nothing."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner
from messages import raises_naming

from efq.runtime import UsageError
from efq.runtime.commands.options import (
    BATCH,
    DEVICE,
    PATH,
    SEED,
    TEXT,
    THREADS,
    FiniteFloat,
    parse_counts,
    refuse_unused,
)
from efq.runtime.console import efq_command

TAKEN = {
    "threads": (THREADS, ("1", "1024")),
    "seed": (SEED, ("0", "4294967295")),
    "batch": (BATCH, ("1", "4096")),
    "seconds": (FiniteFloat(0, 10, min_open=True), ("1e-9", "10", "0.5")),
    "path": (PATH, ("a", "é", ".", "-x", "a b")),
    "text": (TEXT, ("x", "Ünï", "a b", "a" * 200)),
    "device": (DEVICE, ("cpu", "cuda", "cuda:0", "cuda:12", "acme:1")),
}
REFUSED = {
    "threads": ("0", "-1", "1025", "1.5", "1e20", "nan", "", "9" * 5000),
    "seed": ("-1", "4294967296", "0.5", "x"),
    "batch": ("0", "4097", "1e20"),
    "seconds": ("0", "-1", "nan", "inf", "-inf", "1e400", "11", ""),
    "path": ("", " ", "\n"),
    "text": ("", " ", "a\nb", "\x1b[31m", "a" * 201),
    "device": ("", "gpu 0", "cuda:", "cuda:-1", "cpu:0", "CUDA", "cuda:1234", "/dev/null"),
}


def outcome(kind: click.ParamType, value: str) -> int:
    @click.command()
    @click.option("--value", type=kind)
    def command(value: object) -> None:
        """Does nothing."""

    return CliRunner().invoke(command, [f"--value={value}"]).exit_code


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (_, values) in TAKEN.items() for value in values])
def test_values_within_a_range_are_taken(name: str, value: str) -> None:
    assert outcome(TAKEN[name][0], value) == 0


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_values_beyond_a_range_are_refused(name: str, value: str) -> None:
    assert outcome(TAKEN[name][0], value) == 2


def test_counts_are_positive_integers_each_once() -> None:
    assert parse_counts("8, 1,8,32", "--batch", most=32) == (8, 1, 32)
    for text in ("", ",", "1,,2", "0", "-1", "1.5", "33", "x", "²", "٣", "1" * 30, ",".join("1" * 33)):
        with raises_naming(UsageError, "--batch", "32"):
            parse_counts(text, "--batch", most=32)


@pytest.mark.parametrize(
    ("words", "code"),
    [([], 0), (["--other", "1"], 0), (["--steps", "3"], 2), (["-f"], 2), (["--other", "1", "--steps", "5"], 2)],
)
def test_an_option_that_would_do_nothing_is_an_error(words: list[str], code: int) -> None:
    @click.command()
    @click.option("--steps", default=5)
    @click.option("-f", "--fast", is_flag=True)
    @click.option("--other", default=0)
    @efq_command
    def command(**values: object) -> None:
        refuse_unused(("steps", "fast"), "without training")

    result = CliRunner().invoke(command, words)
    assert result.exit_code == code
    assert code == 0 or "without training" in result.stderr
