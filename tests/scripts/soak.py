"""Open and call an Embedder for long: `python tests/scripts/soak.py --reopenings 300 --calls 100000 --seed 0`.

Each backend has a process of its own. It opens, calls and closes an artifact again and again, then calls one from many
threads, in batches of mixed sizes. Every answer has to have the bytes of the first; threads and open files may not
become more; resident memory has to be flat: a line through what was measured after the first third rises by less than
`--growth` MB in all. What does not hold is printed, and the exit code is 1. Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tests_folder  # noqa: F401

from efq.runtime import Embedder

BACKENDS = ("onnxruntime", "openvino")
SIZES = (1, 2, 3, 5, 8, 16, 21, 70)
FACES = np.random.default_rng(0).integers(0, 256, (max(SIZES), 112, 112, 3), dtype=np.uint8)
SMALL_SIZES, SMALL_SHARE = SIZES[:4], 0.9  # most calls of a service are of few faces
SAMPLES = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Use:
    """What the process holds: threads, open files, bytes of memory."""

    threads: int
    files: int
    resident: int

    @classmethod
    def now(cls) -> Use:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return cls(
            threads=len(list(Path("/proc/self/task").iterdir())),
            files=len(list(Path("/proc/self/fd").iterdir())),
            resident=pages * os.sysconf("SC_PAGE_SIZE"),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a soak: how many times, how many answers were wrong, what was used in the course of it."""

    name: str
    count: int
    wrong: int
    seconds: float
    uses: list[Use]

    @property
    def settled(self) -> list[Use]:
        """After the first third, in which pools and caches fill."""
        return self.uses[len(self.uses) // 3 :]

    @property
    def growth(self) -> float:
        """MB that resident memory rises over the settled part, by a least-squares line."""
        resident = [use.resident for use in self.settled]
        slope = np.polyfit(np.arange(len(resident)), resident, 1)[0] if len(resident) > 2 else 0.0
        return float(slope) * len(resident) / 1e6

    def problems(self, largest_growth: float) -> list[str]:
        """What is not as it should be."""
        found = [f"{self.wrong} wrong answers"] if self.wrong else []
        for what, may_rise in (("threads", 1), ("files", 0)):  # a pool starts its last worker where one is first needed
            values = [getattr(use, what) for use in self.settled]
            half = len(values) // 2
            if min(values[half:]) - min(values[:half]) > may_rise:  # the most would count threads that are about to end
                found.append(f"{what}: {min(values[:half])}, later {min(values[half:])}")
        if self.growth > largest_growth:
            found.append(f"memory rose by {self.growth:.1f} MB")
        return found

    def __str__(self) -> str:
        threads = [use.threads for use in self.settled]
        files = [use.files for use in self.settled]
        resident = [use.resident / 1e6 for use in self.settled]
        return (
            f"{self.count} {self.name}, {self.seconds:.0f} s: threads {min(threads)}-{max(threads)}, "
            f"open files {min(files)}-{max(files)}, memory {min(resident):.0f}-{max(resident):.0f} MB, "
            f"rising by {self.growth:+.1f}"
        )


def answers(embedder: Embedder) -> dict[int, bytes]:
    """The bytes of each batch size."""
    return {size: embedder.embed(FACES[:size]).tobytes() for size in SIZES}


def reopen(open_one: Callable[[], Embedder], expected: dict[int, bytes], count: int) -> Part:
    """Open, embed batches of every size, close."""
    uses, wrong, start = [Use.now()], 0, time.monotonic()
    for _ in range(count):
        with open_one() as embedder:
            wrong += answers(embedder) != expected
        uses.append(Use.now())
    return Part(name="reopenings", count=count, wrong=wrong, seconds=time.monotonic() - start, uses=uses)


def call(embedder: Embedder, expected: dict[int, bytes], count: int, callers: int, seed: int) -> Part:
    """Batches of mixed sizes from many threads at once; what is used is measured between rounds of them."""

    def work(own_seed: tuple[int, ...]) -> int:
        draw = np.random.default_rng(own_seed)
        small = draw.random(per_caller) < SMALL_SHARE
        sizes = np.where(small, draw.choice(SMALL_SIZES, per_caller), draw.choice(SIZES, per_caller))
        return sum(embedder.embed(FACES[:size]).tobytes() != expected[int(size)] for size in sizes)

    rounds = min(SAMPLES, max(1, count // callers))
    per_caller = -(-count // (rounds * callers))
    uses, wrong, start = [], 0, time.monotonic()
    with ThreadPoolExecutor(callers) as pool:
        for number in range(rounds):
            wrong += sum(pool.map(work, [(seed, number, caller) for caller in range(callers)]))
            uses.append(Use.now())
    name = f"calls from {callers} threads"
    done = rounds * callers * per_caller
    return Part(name=name, count=done, wrong=wrong, seconds=time.monotonic() - start, uses=uses)


def soak(open_one: Callable[[], Embedder], *, reopenings: int, calls: int, callers: int, seed: int) -> Iterator[Part]:
    """Both parts, in this process, one after the other."""
    with open_one() as embedder:
        expected = answers(embedder)
    yield reopen(open_one, expected, reopenings)
    with open_one() as embedder:
        yield call(embedder, expected, calls, callers, seed)


def _soak_here(options: argparse.Namespace) -> bool:
    logging.getLogger("efq").setLevel(logging.ERROR)  # a backend that is named says each time that it is another's

    def open_one() -> Embedder:
        return Embedder.open(options.artifact, options.device, threads=options.threads, backend=options.backend)

    failed = False
    for part in soak(
        open_one, reopenings=options.reopenings, calls=options.calls, callers=options.callers, seed=options.seed
    ):
        problems = part.problems(options.growth)
        failed = failed or bool(problems)
        print(f"{options.backend}: {part}: {'; '.join(problems) or 'as it should be'}", flush=True)
    return not failed


def _soak_each(options: argparse.Namespace, arguments: Sequence[str]) -> bool:
    backends = ("auto",) if options.artifact else tuple(name for name in BACKENDS if importlib.util.find_spec(name))
    with tempfile.TemporaryDirectory() as folder:
        artifact = options.artifact
        if artifact is None:
            from artifacts import make_artifact

            artifact = str(make_artifact(Path(folder) / "tiny"))
        own = [sys.executable, __file__, *arguments, "--artifact", artifact]
        environment = {"EFQ_CACHE": folder} | os.environ
        results = [subprocess.run([*own, "--backend", name], env=environment, check=False) for name in backends]
    print(json.dumps({"backends": backends, "exit_codes": [result.returncode for result in results]}))
    return not any(result.returncode for result in results)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifact", help="the one to open (a tiny network that is made for it)")
    parser.add_argument("--device", help="as of Embedder.open")
    parser.add_argument("--backend", help="only this one, in this process; needs --artifact (each that is installed)")
    parser.add_argument("--reopenings", type=int, default=300)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--growth", type=float, default=4.0, help="MB that memory may rise by in each part")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    right = _soak_here(options) if options.backend else _soak_each(options, sys.argv[1:])
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
