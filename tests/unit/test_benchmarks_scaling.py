"""One network on several numbers of threads: opened once each, timed in turn, closed, and reported as measured."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from test_benchmarks_report import cells, results

from efq.benchmarks.report.report import to_markdown
from efq.benchmarks.report.results import BenchResults
from efq.benchmarks.timing.scaling import Scaling, measure_scaling

__all__ = ["results"]  # a fixture

IMAGES = np.zeros((16, 2, 2, 3), np.uint8)


class Sleeper:
    """A network that takes six milliseconds an image, shared out among its threads."""

    name = "sleeper"
    file_bytes = 1

    def __init__(self, threads: int, closed: list[int]) -> None:
        self.threads, self.closed = threads, closed

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return images

    def run(self, prepared: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.006 * len(prepared) / self.threads)
        return np.zeros((len(prepared), 1), np.float32)

    embed = run

    def close(self) -> None:
        self.closed.append(self.threads)


@pytest.mark.slow
def test_the_factor_is_that_of_the_times() -> None:
    opened: list[int] = []
    closed: list[int] = []

    def open_on(threads: int) -> Sleeper:
        opened.append(threads)
        return Sleeper(threads, closed)

    found = measure_scaling("sleeper", open_on, IMAGES, batches=(2, 8), threads=(3, 1, 3), rounds=12, seconds=30)
    assert sorted(opened) == sorted(closed) == [1, 3]
    assert [(scaling.batch, scaling.base_threads, scaling.threads) for scaling in found] == [(2, 1, 3), (8, 1, 3)]
    for scaling in found:
        assert scaling.factor == pytest.approx(3, rel=0.2)
        assert scaling.quartiles[0] <= scaling.factor <= scaling.quartiles[1]
        assert scaling.rounds == 12


def test_networks_are_closed_when_one_cannot_be_opened() -> None:
    closed: list[int] = []

    def open_on(threads: int) -> Sleeper:
        if threads > 1:
            raise ValueError(threads)
        return Sleeper(threads, closed)

    with pytest.raises(ValueError, match="2"):
        measure_scaling("sleeper", open_on, IMAGES, batches=(1,), threads=(1, 2), rounds=1, seconds=1)
    assert closed == [1]


def test_the_report_shows_it(results: BenchResults) -> None:
    assert "2 threads" not in to_markdown(results)
    scaling = tuple(
        Scaling(
            network=network,
            batch=batch,
            base_threads=1,
            threads=2,
            factor=factor,
            quartiles=(factor - 0.1, factor + 0.1),
            rounds=20,
        )
        for network, batch, factor in (
            ("teacher", 1, 1.5),
            ("teacher", 8, 1.6),
            ("student", 1, 1.4),
            ("student", 8, 1.9),
        )
    )
    text = to_markdown(
        dataclasses.replace(
            results, latency=(results.latency[0], dataclasses.replace(results.latency[0], threads=2)), scaling=scaling
        )
    )
    assert ["network", "batch 1, 2 threads", "batch 8, 2 threads"] in cells(text, "network")
    assert ["student", "1.40 x (1.30 to 1.50)", "1.90 x (1.80 to 2.00)"] in cells(text, "student")
