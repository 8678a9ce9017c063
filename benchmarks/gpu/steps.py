"""EFQ's own commands as the steps of a measurement, each in a process of its own."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from efq.benchmarks.timing.machine import describe_machine
from efq.runtime.errors import InputError, MissingDependencyError
from efq.runtime.files import atomic_write_text

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """A step that ended well: the command, the seconds it took, its standard output."""

    command: str
    seconds: float
    output: str

    def json(self) -> Any:
        """The JSON it printed. Raises InputError when it is none."""
        try:
            return json.loads(self.output)
        except ValueError as error:
            message = f"expected JSON from {self.command}, found {self.output[:80]!r}; run it by itself"
            raise InputError(message) from error


def run_step(command: Sequence[str | Path]) -> Finished:
    """Run `efq-...` with its arguments, its messages on stderr as they come.

    A step that fails ends this process with the step's own exit code: it has said why. Raises MissingDependencyError
    when the command is not installed.
    """
    words = [str(word) for word in command]
    _logger.info("$ %s", shlex.join(words))
    start = time.monotonic()
    finished = subprocess.run([_installed(words[0]), *words[1:]], stdout=subprocess.PIPE, text=True, check=False)
    if finished.returncode:
        _logger.info("the step failed: %s", shlex.join(words))
        sys.exit(finished.returncode)
    return Finished(command=shlex.join(words), seconds=time.monotonic() - start, output=finished.stdout)


def write_report(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as JSON, with the date and the machine."""
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    report = {"created": created, "machine": describe_machine().to_dict()} | content
    atomic_write_text(path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def _installed(name: str) -> str:
    """The command of the environment that this Python belongs to."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        message = f"expected the command {name}, found none: install EFQ with pip install -e '.[train]'"
        raise MissingDependencyError(message)
    return found
