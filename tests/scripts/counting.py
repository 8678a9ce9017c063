"""What the fuzzers share: numbered attempts, each with random numbers of its own, and what came of them."""

from __future__ import annotations

import argparse
import collections
import math
import os
import random
import resource
import time
from collections.abc import Callable
from typing import NoReturn

from efq.runtime.errors import EfqError

MARK = "EFQ_RAN_CODE"
"""The variable that a file sets in the environment where code of it runs."""


def parser(description: str | None, *, count: int) -> argparse.ArgumentParser:
    """With the options --count, --seed and --only."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--count", type=int, default=count)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--only", type=int, help="The one attempt of that number; what it raises is not caught.")
    return made


def count_attempts(arguments: argparse.Namespace, attempt: Callable[[random.Random, int], str]) -> NoReturn:
    """Make the attempts, by their random numbers and their number, print what came of them and exit: with 1 for a hole.

    A hole is an outcome that begins so, an exception, or code that ran; it is printed with its seed and number. What
    follows a colon in an outcome is not counted apart.
    """
    counts: collections.Counter[str] = collections.Counter()
    for number in range(arguments.count) if arguments.only is None else (arguments.only,):
        name = f"{arguments.seed}/{number}"
        try:
            found = attempt(random.Random(name), number)
        except Exception as error:
            if arguments.only is not None:
                raise
            found = f"HOLE {type(error).__name__}: {error!r}"
        if os.environ.pop(MARK, None):
            found = "HOLE code ran"
        kind, told, _ = found.partition(":")
        if told or kind.startswith("HOLE"):
            print(f"{name}: {found[:400]}", flush=True)
        counts[kind] += 1
    print_counts(counts)
    raise SystemExit(any(kind.startswith("HOLE") for kind in counts))


def read_bounded(read: Callable[[], str], *, most_bytes: int, most_seconds: float = 1.0) -> str:
    """What `read` says that it found, or that an error of EFQ refused it; a hole begins so: more time or memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = ""

    def attempt() -> None:
        nonlocal found
        try:
            found = read()
        except EfqError as error:
            str(error).encode()
            found = f"refused, {type(error).__name__}"

    seconds = seconds_of(attempt, most=most_seconds)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if seconds > most_seconds or grown > most_bytes:
        return f"HOLE: {found} in {seconds:.1f} s and {grown:,} bytes"
    return found


def seconds_of(work: Callable[[], object], *, most: float, attempts: int = 3) -> float:
    """Seconds of computing that `work` takes in this thread: the least of its runs; one within `most` is enough.

    Whatever else the process does, a collection of garbage among it, is not what a limit is to hold.
    """
    least = math.inf
    for _ in range(attempts):
        start = time.thread_time()
        work()
        least = min(least, time.thread_time() - start)
        if least <= most:
            break
    return least


def print_counts(counts: collections.Counter[str]) -> None:
    """The most frequent first."""
    for found, count in counts.most_common():
        print(f"{count:7,}  {found}")
