"""Options of commands: each has a range, and extreme values end with an exit code and a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import fuzz_options
import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
BOUNDLESS = (click.types.IntParamType, click.types.FloatParamType, click.types.StringParamType, click.Path)
"""Types of click without a range; FloatRange, IntRange and those of runtime/commands/options.py have one."""


def every_command() -> dict[str, click.Command]:
    from efq.benchmarks.gpu import bench_students, check_cuda, distill_iresnets
    from efq.benchmarks.studies import data_study

    modules = (bench_students, check_cuda, distill_iresnets, data_study)
    found = {name: command for name, (command, _) in fuzz_options.commands().items()}
    return found | {module.__name__.rpartition(".")[2]: module.main for module in modules}


def has_range(parameter: click.Parameter) -> bool:
    checked = parameter.callback is not None
    return checked or not any(type(parameter.type) is boundless for boundless in BOUNDLESS)


def test_every_option_has_a_range() -> None:
    found = [
        f"{name} {parameter.opts[0]}"
        for name, command in every_command().items()
        for parameter in command.params
        if not has_range(parameter)
    ]
    assert found == []


@pytest.mark.slow
def test_combinations_of_extreme_options_end_well() -> None:
    """As `python tests/scripts/fuzz_options.py` with many more."""
    words = [sys.executable, str(SCRIPTS / "fuzz_options.py"), "--count", "25", "--seed", "1"]
    run = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | {"EFQ_FACES": ""})
    assert run.returncode == 0, run.stdout + run.stderr
