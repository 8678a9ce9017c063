"""How fast efq-embed --parquet is beside an Embedder on decoded faces, and how much memory it takes.

`python -m efq.benchmarks.studies.bulk_study ARTIFACT FACES --images 2000` embeds the same faces in turn: decoded, in
this process, by `Embedder.embed` on as many threads (10,000 at most), and as files, by the command. Of the command all
counts but the start of the interpreter. CPU time an image tells the same where others are at work on the machine. FACES
are aligned crops; where there are fewer than --images they are listed again. With --kill the command runs once more,
is killed when half of the shards are finished, goes on with --resume, and has to write the same bytes.
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.studies.bulk_study")

import itertools
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from efq.benchmarks.studies.bulk_process import Run, files_that_differ, run_command, run_killed_once
from efq.runtime import Embedder
from efq.runtime.backends.model import thread_count
from efq.runtime.backends.open import BACKENDS
from efq.runtime.bulk.listing.walk import walk_images
from efq.runtime.commands.options import IMAGES, PATH, THREADS
from efq.runtime.console import efq_command
from efq.runtime.errors import EfqError
from efq.runtime.faces.images import read_faces
from efq.runtime.faces.scan import LeftOut

_BATCH = 32
_DECODED = 512  # faces that are held in memory
_MOST_DECODED = 10_000  # calls for so many images say what one costs


@click.command()
@click.argument("artifact", type=PATH)
@click.argument("faces", type=PATH)
@click.option("--images", type=IMAGES, default=2000, show_default=True, help="Images of a run.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--threads", type=THREADS, help="Of both.  [default: every CPU]")
@click.option("--backend", type=click.Choice(BACKENDS), default="onnxruntime", show_default=True, help="Of both.")
@click.option("--shard", type=click.IntRange(1, 1_000_000), default=100_000, show_default=True)
@click.option("--memory-only", is_flag=True, help="Leave the Embedder out.")
@click.option("--kill", is_flag=True, help="Run once more, killed midway and resumed.")
@efq_command
def main(
    artifact: Path,
    faces: Path,
    images: int,
    rounds: int,
    threads: int | None,
    backend: str,
    shard: int,
    memory_only: bool,
    kill: bool,
) -> None:
    """Time both in turn and print images a second."""
    threads = thread_count(threads)
    paths = [faces / name for name in itertools.islice(walk_images(faces, LeftOut()), images)]
    plain: list[Run] = []
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="efq-bulk-") as temporary:
        listed, output = Path(temporary) / "list.txt", Path(temporary) / "output"
        with listed.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{path}\n" for path in itertools.islice(itertools.cycle(paths), images))
        words = [str(artifact), "--list", str(listed), "--threads", str(threads), "--backend", backend]
        words += ["--shard", str(shard), "--batch", str(_BATCH)]
        for _ in range(rounds):
            if not memory_only:
                plain.append(_time_plain(artifact, paths[:_DECODED], min(images, _MOST_DECODED), threads, backend))
            shutil.rmtree(output, ignore_errors=True)
            runs.append(run_command(words, output))
        _report(plain, runs, images, shard)
        if kill:
            run_killed_once(words, Path(temporary) / "killed", -(-images // shard) // 2)
            _check_same(output, Path(temporary) / "killed")


def _report(plain: Sequence[Run], runs: Sequence[Run], images: int, shard: int) -> None:
    """Medians of the rounds, and the memory of the last one."""
    for name, found, count in (
        ("Embedder on decoded faces", plain, min(images, _MOST_DECODED)),
        ("efq-embed --parquet", runs, images),
    ):
        if found:
            rate = count / np.median([one.seconds for one in found])
            cpu = np.median([one.cpu_seconds for one in found]) / count * 1000
            click.echo(f"{name}: {rate:.0f} images/s, {cpu:.2f} ms of a CPU an image")
    click.echo(f"largest process: {max(one.megabytes for one in runs):.0f} MB")
    marks = (f"{min(done * shard, images):,}: {found:.0f}" for done, found in runs[-1].resident.items())
    click.echo(f"most MB resident when so many images were finished: {', '.join(marks)}")


def _check_same(whole: Path, resumed: Path) -> None:
    """Raises EfqError where the files are not the same."""
    if different := files_that_differ(whole, resumed):
        message = f"expected the bytes of a run that was not killed, found others in {', '.join(different[:5])}"
        raise EfqError(message)
    click.echo("killed midway and resumed: the same bytes")


def _time_plain(artifact: Path, paths: Sequence[Path], images: int, threads: int, backend: str) -> Run:
    """So many images, in this process."""
    with Embedder.open(artifact, "cpu", threads, backend=backend) as embedder:
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
