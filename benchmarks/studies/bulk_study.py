"""How fast efq-embed --parquet is beside an Embedder on decoded faces, and how much memory it takes.

`python -m efq.benchmarks.studies.bulk_study ARTIFACT FACES --images 2000` embeds the same faces in turn: decoded, in
this process, by `Embedder.embed` on as many threads, and as files, by the command. Of the command all counts but the
start of the interpreter. CPU time an image tells the same where others are at work on the machine. FACES are aligned
crops; where there are fewer than --images they are listed again.
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.studies.bulk_study")

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from efq.runtime import Embedder
from efq.runtime.backends.model import thread_count
from efq.runtime.bulk.listing.walk import walk_images
from efq.runtime.commands.options import IMAGES, PATH, THREADS
from efq.runtime.console import efq_command
from efq.runtime.errors import EfqError
from efq.runtime.faces.images import read_faces
from efq.runtime.faces.scan import LeftOut

_BATCH = 32
_DECODED = 512  # faces that are held in memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """seconds, and those of CPUs. megabytes: of the largest process of the command at its largest."""

    seconds: float
    cpu_seconds: float
    megabytes: float = 0.0


@click.command()
@click.argument("artifact", type=PATH)
@click.argument("faces", type=PATH)
@click.option("--images", type=IMAGES, default=2000, show_default=True, help="Images of a run.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--threads", type=THREADS, help="Of both.  [default: every CPU]")
@click.option("--shard", type=click.IntRange(1, 1_000_000), default=100_000, show_default=True)
@click.option("--memory-only", is_flag=True, help="Leave the Embedder out.")
@efq_command
def main(
    artifact: Path, faces: Path, images: int, rounds: int, threads: int | None, shard: int, memory_only: bool
) -> None:
    """Time both in turn and print images a second."""
    threads = thread_count(threads)
    paths = [faces / name for name in itertools.islice(walk_images(faces, LeftOut()), images)]
    plain: list[Run] = []
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="efq-bulk-") as temporary:
        listed = Path(temporary) / "list.txt"
        with listed.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{path}\n" for path in itertools.islice(itertools.cycle(paths), images))
        for number in range(rounds):
            if not memory_only:
                plain.append(_time_plain(artifact, paths[:_DECODED], images, threads))
            options = ["--threads", str(threads), "--shard", str(shard), "--batch", str(_BATCH)]
            runs.append(_run([str(artifact), "--list", str(listed), "-o", f"{temporary}/{number}", *options]))
    for name, found in (("Embedder on decoded faces", plain), ("efq-embed --parquet", runs)):
        if found:
            rate = images / np.median([one.seconds for one in found])
            cpu = np.median([one.cpu_seconds for one in found]) / images * 1000
            click.echo(f"{name}: {rate:.0f} images/s, {cpu:.2f} ms of a CPU an image")
    click.echo(f"largest process: {max(one.megabytes for one in runs):.0f} MB")


def _time_plain(artifact: Path, paths: Sequence[Path], images: int, threads: int) -> Run:
    """So many images by the backend that the command takes."""
    with Embedder.open(artifact, "cpu", threads, backend="onnxruntime") as embedder:
        decoded = read_faces(paths, embedder.contract)
        batches = [decoded[start : start + _BATCH] for start in range(0, len(decoded), _BATCH)]
        embedder.embed(batches[0])
        start, cpu = time.monotonic(), time.process_time()
        done = 0
        for batch in itertools.cycle(batches):
            embedder.embed(batch)
            done += len(batch)
            if done >= images:
                break
        share = images / done
        return Run(seconds=(time.monotonic() - start) * share, cpu_seconds=(time.process_time() - cpu) * share)


def _run(words: list[str]) -> Run:
    """Raises EfqError for a run that fails."""
    command = [sys.executable, "-m", "efq.runtime.embed_command", *words]
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*command, "--parquet", "--backend", "onnxruntime", "--json"], stdout=output, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0), output.seek(0)
        said = errors.read().decode(errors="replace")
        if process.returncode:
            message = f"expected efq-embed to embed the images, found exit code {process.returncode}: {said[-500:]}"
            raise EfqError(message)
        seconds = float(json.loads(output.read())["seconds"])
    return Run(seconds=seconds, cpu_seconds=usage.ru_utime + usage.ru_stime, megabytes=usage.ru_maxrss / 1024)
