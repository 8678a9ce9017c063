"""The Pareto front, against its definition, and the chart's points from a report's records."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from efq.benchmarks.accuracy.parity import AccuracyResults, NetworkAccuracy
from efq.benchmarks.report.pareto import Point, pareto_front, plot_pareto, points_of
from efq.benchmarks.timing.latency import summarize


def point(name: str, milliseconds: float, tar: float) -> Point:
    return Point(network=name, milliseconds=milliseconds, tar=tar)


def beats(one: Point, other: Point) -> bool:
    as_good = one.milliseconds <= other.milliseconds and one.tar >= other.tar
    return as_good and (one.milliseconds < other.milliseconds or one.tar > other.tar)


def test_the_front_holds_what_nothing_beats() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        points = [point(str(i), *generator.integers(0, 8, 2).astype(float)) for i in range(20)]
        front = pareto_front(points)
        found = {(p.milliseconds, p.tar) for p in front}
        wanted = {(p.milliseconds, p.tar) for p in points if not any(beats(other, p) for other in points)}
        assert found == wanted
        assert front == sorted(front, key=lambda p: p.milliseconds)


def accuracy(**tar: dict[str, float]) -> AccuracyResults:
    networks = tuple(NetworkAccuracy(network=n, tar=t, thresholds={}, ten_fold={}) for n, t in tar.items())
    return AccuracyResults(images=9, identities=3, genuine_pairs=9, impostor_pairs=27, networks=networks, parity=())


def test_points_take_the_far_that_all_have() -> None:
    latencies = summarize({"a": [0.008] * 20, "b": [0.002] * 20, "untested": [0.1] * 20}, reference="a", batch=1)
    far, points = points_of(latencies, accuracy(a={"1e-3": 0.9, "1e-4": 0.8}, b={"1e-3": 0.7, "1e-4": 0.6}))
    assert (far, [(p.network, p.tar) for p in points]) == ("1e-4", [("a", 0.8), ("b", 0.6)])
    assert [round(p.milliseconds, 6) for p in points] == [8.0, 2.0]
    far, points = points_of(latencies, accuracy(a={"1e-2": 0.95, "1e-3": 0.9}, b={"1e-2": 0.8, "1e-3": 0.7}))
    assert (far, len(points)) == ("1e-3", 2)
    assert points_of(latencies, accuracy(a={}, b={"1e-3": 0.7}))[1] == []


def test_the_chart_is_drawn(tmp_path: Path) -> None:
    points = [point("teacher", 9.3, 0.98), point("student", 1.1, 0.97), point("other", 12.0, 0.87)]
    path = tmp_path / "new" / "pareto.png"
    plot_pareto(points, path, far="1e-4", title="t", reference="teacher", artifacts={"student"})
    image = cv2.imread(str(path))
    assert image is not None
    assert image.shape[:2] == (840, 1650)
    colours = {tuple(pixel) for pixel in image.reshape(-1, 3)[:, ::-1].tolist()}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours  # the student's and the other's
