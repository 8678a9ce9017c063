"""Rivals, slower cases and floor, from results written down by hand."""

from __future__ import annotations

import dataclasses

import pytest
from messages import names
from test_benchmarks_report import cells, results

from efq.benchmarks.accuracy.parity import AccuracyResults, NetworkAccuracy
from efq.benchmarks.report.report import to_markdown
from efq.benchmarks.report.results import BenchResults, NetworkRecord
from efq.benchmarks.report.summary import slower_cases, standings
from efq.benchmarks.timing.footprint import Footprint
from efq.benchmarks.timing.int8_floor import Int8Floor, Shape, measure_floor
from efq.benchmarks.timing.latency import Latency, LatencySetting, summarize

__all__ = ["results"]  # a fixture

# Milliseconds at one and two threads, and TAR at FAR 1e-4.
NETWORKS = {
    "teacher": (8.0, 5.0, 0.98),
    "student": (2.0, 1.0, 0.975),
    "fast and wrong": (1.0, 0.9, 0.969),
    "slow and right": (3.0, 2.0, 0.980),
    "just equal": (2.5, 0.8, 0.9701),
}


def latencies(threads: int, batch: int) -> tuple[Latency, ...]:
    times = {name: [values[threads - 1] * batch / 1e3] * 20 for name, values in NETWORKS.items()}
    return tuple(summarize(times, reference="teacher", batch=batch))


@pytest.fixture
def compared(results: BenchResults) -> BenchResults:
    records = tuple(
        NetworkRecord(
            name=name,
            description=name,
            file_bytes=1,
            size_ratio=1.0,
            is_artifact=name == "student",
            multiply_adds=200_000_000 if name == "student" else None,
        )
        for name in NETWORKS
    )
    accuracies = tuple(
        NetworkAccuracy(network=name, tar={"1e-4": values[2]}, thresholds={}, ten_fold={})
        for name, values in NETWORKS.items()
    )
    accuracy = AccuracyResults(
        images=1, identities=1, genuine_pairs=1, impostor_pairs=1, networks=accuracies, parity=()
    )
    settings = tuple(
        LatencySetting(threads=threads, batch=batch, networks=latencies(threads, batch))
        for threads in (1, 2)
        for batch in (1, 8)
    )
    return dataclasses.replace(results, networks=records, accuracy=accuracy, latency=settings)


def test_the_rival_is_the_fastest_of_equal_accuracy(compared: BenchResults) -> None:
    (standing,) = standings(compared, compared.latency[0])
    assert (standing.artifact, standing.rival) == ("student", "just equal")
    assert standing.over_teacher == pytest.approx(4.0)
    assert standing.over_rival == pytest.approx(1.25)


def test_without_accuracy_every_alternative_is_a_rival(compared: BenchResults) -> None:
    (standing,) = standings(dataclasses.replace(compared, accuracy=None), compared.latency[0])
    assert standing.rival == "fast and wrong"
    assert standing.over_rival == pytest.approx(0.5)


def test_slower_cases_are_named(compared: BenchResults) -> None:
    cases = slower_cases(compared)
    assert [case.standing.batch for case in cases] == [1, 8]
    for case in cases:
        names(case, "student", f"batch {case.standing.batch}", "2 threads", "just equal", 1.25)
        assert f"- {case}" in last_paragraph(compared).splitlines()
    first = dataclasses.replace(compared, latency=compared.latency[:1])
    assert slower_cases(first) == []
    assert not last_paragraph(first).startswith(("- ", "|"))


@pytest.mark.parametrize(("student", "milliseconds", "ahead"), [("a", 0.5, True), ("a", 0.9, False), ("b", 0.5, False)])
def test_another_artifact_of_the_same_student_may_be_ahead(
    compared: BenchResults, student: str, milliseconds: float, ahead: bool
) -> None:
    """The other artifact takes `milliseconds` on two threads; its rival takes 0.8."""
    networks = tuple(
        dataclasses.replace(network, student="a") if network.name == "student" else network
        for network in compared.networks
    )
    other = dataclasses.replace(networks[1], name="other", student=student)
    accuracy = compared.accuracy
    assert accuracy is not None
    accuracies = (*accuracy.networks, dataclasses.replace(accuracy.networks[1], network="other"))
    latency = tuple(
        dataclasses.replace(
            setting,
            networks=(
                *setting.networks,
                dataclasses.replace(setting.networks[1], network="other", p50_ms=milliseconds * setting.batch),
            ),
        )
        for setting in compared.latency
    )
    found = dataclasses.replace(
        compared,
        networks=(*networks, other),
        latency=latency,
        accuracy=dataclasses.replace(accuracy, networks=accuracies),
    )
    first = slower_cases(found)[0]
    assert first.standing.artifact == "student"
    if ahead:
        assert first.instead is not None
        assert (first.instead.artifact, first.instead.rival) == ("other", "just equal")
        names(first, "other", "1.60", "just equal")
    else:
        assert first.instead is None
    assert all((case.instead is not None) is ahead for case in slower_cases(found))
    assert last_paragraph(found).startswith("- ") is not ahead


def last_paragraph(results: BenchResults) -> str:
    """The end of the report's comparison with the rivals: the slower cases, or what is said of them or of none."""
    (section,) = (part for part in to_markdown(results).split("\n## ") if "\n| batch 1, 1 thread " in part)
    return section.strip().split("\n\n")[-1]


def test_the_report_holds_them(compared: BenchResults) -> None:
    footprints = tuple(Footprint(network=name, start_up_ms=120.4, peak_mib=77.6) for name in NETWORKS)
    floor = Int8Floor(multiply_adds_per_ns=200.0, kernel="a kernel")
    text = to_markdown(dataclasses.replace(compared, footprints=footprints, floor=floor))
    standing = cells(text, "batch 1, 1 thread")[0]
    assert standing == ["batch 1, 1 thread", "student", "97.50", "4.00 x", "just equal", "1.25 x"]
    rows = cells(text, "student")
    assert ["student", "500.0", "500.0", "1000.0", "1000.0"] in rows
    assert ["student", "100.0 %", "0.00", "78", "120", "student"] in rows
    assert ["student", "200.0", "1.00", "2.00", "2.00 x"] in rows
    names(text, "200.0 8-bit multiply-adds", "a kernel")


def test_without_alternatives_there_is_no_comparison(results: BenchResults) -> None:
    assert cells(to_markdown(results), "batch 1, 1 thread") == []


def test_the_floor_is_the_best_of_the_shapes() -> None:
    shapes = (Shape(channels=16, outputs=16, size=4, kernel=1), Shape(channels=128, outputs=128, size=8, kernel=3))
    floor = measure_floor(shapes, repeats=20)
    names(floor.kernel, "128 -> 128")
    assert 0.1 < floor.multiply_adds_per_ns < 10_000
    assert floor.milliseconds(10**6) == pytest.approx(1 / floor.multiply_adds_per_ns)
