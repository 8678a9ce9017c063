"""A process of efq-embed --parquet: what it took, its memory as shards were finished, and one that is killed midway."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from efq.runtime.errors import EfqError
from efq.runtime.reading import sha256_file

_POLL = 0.2  # seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """seconds, and those of CPUs. megabytes: of the largest process of the command at its largest.

    resident: by how many shards were finished, the most MB that the first process was seen to have then.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float = 0.0
    resident: Mapping[int, float] = dataclasses.field(default_factory=dict)


def run_command(words: Sequence[str], output: Path) -> Run:
    """Embed into `output`. Raises EfqError for a run that fails."""
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as said:
        process = subprocess.Popen([*_command(words, output), "--json"], stdout=said, stderr=errors)
        resident: dict[int, float] = {}
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            shard = _finished(output)
            resident[shard] = max(resident.get(shard, 0.0), _resident(process.pid))
            time.sleep(_POLL)
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        errors.seek(0), said.seek(0)
        if process.returncode:
            _fail(process.returncode, errors.read())
        seconds = float(json.loads(said.read())["seconds"])
    usage = ended[2]
    return Run(
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        megabytes=usage.ru_maxrss / 1024,
        resident=resident,
    )


def run_killed_once(words: Sequence[str], output: Path, shards: int) -> None:
    """Embed into `output`, with a process that is killed when `shards` are finished, and one that goes on."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(_command(words, output), stdout=subprocess.DEVNULL, stderr=errors)
        while _finished(output) < shards and process.poll() is None:
            time.sleep(_POLL)
        process.kill()
        if process.wait() >= 0:
            errors.seek(0)
            _fail(process.returncode, errors.read())
    run_command([*words, "--resume"], output)


def files_that_differ(one: Path, two: Path) -> list[str]:
    """Of two outputs, relative: what is in one of them only, or has other bytes."""
    first, second = _digests(one), _digests(two)
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


def _command(words: Sequence[str], output: Path) -> list[str]:
    return [sys.executable, "-m", "efq.runtime.embed_command", *words, "--parquet", "-o", str(output)]


def _digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): sha256_file(path, expected="an output") for path in files}


def _finished(output: Path) -> int:
    """How many shards are in their places."""
    return sum(1 for _ in (output / "embeddings").glob("[0-9]*.parquet"))


def _resident(process: int) -> float:
    """MB of VmRSS (Linux; elsewhere, and of a process that has ended, 0)."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _fail(code: int, errors: bytes) -> None:
    said = errors.decode(errors="replace")[-500:]
    message = f"expected efq-embed to embed the images, found exit code {code}: {said}"
    raise EfqError(message)
