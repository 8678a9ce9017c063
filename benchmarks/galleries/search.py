"""Search among many: python -m efq.benchmarks.galleries.search --backend sqlite --faces 10000 100000 --size 512.

For each number of drawn faces: recall@1 beside brute force in float64, the median time of one probe and of 64 together
beside a float32 product by numpy in the same run (`numpy`: without ordering what it finds), resident memory, and how
long opening takes. The threads are those of OMP_NUM_THREADS. `--clock cpu` takes CPU time of this process instead of
the time that passes: on a machine that others use as well, and for what computes in this process.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.galleries.backends import INDEX, PLACES, fill, model_of
from efq.benchmarks.galleries.drawn_people import DrawnPeople
from efq.runtime.gallery.stores.index.exact import Fetched, exact_search
from efq.runtime.gallery.stores.index.grid import Grid
from efq.runtime.gallery.stores.index.int8_index import Int8Index
from efq.runtime.gallery.stores.open import open_gallery
from efq.runtime.gallery.stores.store import Match

Search = Callable[[NDArray[np.float32], int], list[tuple[Match, ...]]]

CLOCKS: Mapping[str, Callable[[], float]] = MappingProxyType({"wall": time.perf_counter, "cpu": time.process_time})

_TOGETHER = 64
_BASELINE_FACES = 1_000_000  # of more, time is that of so many, scaled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """Times in milliseconds, memory in megabytes (10^6), of one number of faces."""

    backend: str
    faces: int
    size: int
    recall_at_1: float
    probes: int
    one: float
    together: float
    numpy_one: float
    numpy_together: float
    resident: float
    opened: float


@contextlib.contextmanager
def opened_store(backend: str, people: DrawnPeople) -> Iterator[Search]:
    """A store of all, filled by another process so that nothing of that is in this one's memory."""
    with PLACES[backend]() as place:
        filling = multiprocessing.get_context("spawn").Process(target=fill, args=(place, people, backend))
        filling.start()
        filling.join()
        if filling.exitcode:
            message = f"filling {place} ended with exit code {filling.exitcode}"
            raise RuntimeError(message)
        _Clock.start()
        with open_gallery(place, model_of(people), create=False) as store:
            _Clock.stop()
            yield store.search


@contextlib.contextmanager
def opened_index(people: DrawnPeople) -> Iterator[Search]:
    """The scan alone."""
    _Clock.start()
    index: Int8Index | None = None
    for start, rows in people.parts():
        index = index or Int8Index(people.size, Grid.fitted(rows[:4096]), expected=people.count)
        keys = np.arange(start, start + len(rows))
        index.put(keys, keys // people.each, rows)
    assert index is not None
    _Clock.stop()

    drawn: dict[int, NDArray[np.float32]] = {}

    def fetch(keys: NDArray[np.int64]) -> Fetched:
        numbers = keys.tolist()
        new = np.array([number for number in numbers if number not in drawn], np.int64)
        if len(new):  # drawn once: searches are repeated, and drawing is not what is measured
            drawn.update(zip(new.tolist(), people.rows(new), strict=True))
        return Fetched(
            keys=keys,
            rows=np.stack([drawn[number] for number in numbers]),
            people=[people.person(number) for number in numbers],
            faces=[f"{number:08}" for number in numbers],
        )

    found = index
    yield lambda probes, k: exact_search(found, fetch, probes, k, "best")


class _Clock:
    """Of opening: seconds and resident memory. now: seconds, by the clock that was asked for."""

    now: Callable[[], float] = time.perf_counter
    began = ended = 0.0
    before = after = 0

    @classmethod
    def start(cls) -> None:
        cls.before, cls.began = _resident(), cls.now()

    @classmethod
    def stop(cls) -> None:
        cls.ended, cls.after = cls.now(), _resident()


def measure(backend: str, people: DrawnPeople, probes: int, repeats: int) -> Figures:
    """Raises what opening and filling raise."""
    wanted, _ = people.probes(max(probes, _TOGETHER))
    with opened_index(people) if backend == INDEX else opened_store(backend, people) as search:
        found = [matches[0] for matches in search(wanted[:probes], 1)]
        one = _median(lambda number: search(wanted[number % probes][None], 1), repeats)
        together = _median(lambda number: search(wanted[:_TOGETHER], 1), max(3, repeats // 8))
        resident, opened = _Clock.after - _Clock.before, _Clock.ended - _Clock.began
        best = _brute_force(people, wanted[:probes])
        hits = [match.face == f"{number:08}" for match, number in zip(found, best.tolist(), strict=True)]
        numpy_one, numpy_together = _baseline(people, wanted, repeats)
    return Figures(
        backend=backend,
        faces=people.count,
        size=people.size,
        recall_at_1=sum(hits) / len(hits),
        probes=probes,
        one=one,
        together=together,
        numpy_one=numpy_one,
        numpy_together=numpy_together,
        resident=resident / 1e6,
        opened=opened,
    )


def _brute_force(people: DrawnPeople, probes: NDArray[np.float32]) -> NDArray[np.int64]:
    """(P,) the number of the face of the largest product in float64, the first of equal ones."""
    best, places = np.full(len(probes), -np.inf), np.zeros(len(probes), np.int64)
    exact = probes.astype(np.float64)
    for start, rows in people.parts():
        products = exact @ rows.astype(np.float64).T
        at = products.argmax(axis=1)
        largest = products[np.arange(len(probes)), at]
        places = np.where(largest > best, start + at, places)
        best = np.maximum(best, largest)
    return places


def _baseline(people: DrawnPeople, probes: NDArray[np.float32], repeats: int) -> tuple[float, float]:
    count = min(people.count, _BASELINE_FACES)
    rows = np.empty((count, people.size), np.float32)
    for start, part in dataclasses.replace(people, count=count).parts():
        rows[start : start + len(part)] = part
    scale = people.count / count
    one = _median(lambda number: (probes[number % len(probes)][None] @ rows.T).argmax(axis=1), repeats)
    together = _median(lambda number: (probes[:_TOGETHER] @ rows.T).argmax(axis=1), max(3, repeats // 8))
    return one * scale, together * scale


def _median(call: Callable[[int], object], repeats: int) -> float:
    """Milliseconds."""
    call(0)
    times = []
    for number in range(repeats):
        began = _Clock.now()
        call(number)
        times.append(_Clock.now() - began)
    return statistics.median(times) * 1e3


def _resident() -> int:
    """Bytes of this process in memory, 0 where that is not known."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024
    return 0


def _row(figures: Figures) -> str:
    return (
        f"| {figures.backend} | {figures.faces:,} | {figures.size} | {figures.recall_at_1:.4f} | {figures.one:.2f} ms "
        f"({figures.numpy_one / figures.one:.1f} x) | {figures.together:.0f} ms "
        f"({figures.numpy_together / figures.together:.1f} x) | {figures.resident:.0f} MB | {figures.opened:.1f} s |"
    )


def main() -> None:
    """Print a table row for each number of faces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=[INDEX, *PLACES], default="sqlite")
    parser.add_argument("--faces", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--each", type=int, default=3, help="Faces of a person.")
    parser.add_argument("--probes", type=int, default=200, help="For recall.")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    _Clock.now = CLOCKS[arguments.clock]
    if not arguments.json:
        print(f"| | faces | size | recall@1 of {arguments.probes} | one probe | {_TOGETHER} probes | memory | opened |")
        print("|---|---|---|---|---|---|---|---|")
    for count in arguments.faces:
        people = DrawnPeople(count=count, size=arguments.size, each=arguments.each)
        figures = measure(arguments.backend, people, arguments.probes, arguments.repeats)
        print(json.dumps(dataclasses.asdict(figures)) if arguments.json else _row(figures), flush=True)


if __name__ == "__main__":
    main()
