"""The Pareto chart: accuracy over latency, and the front of the networks that none beats in both."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

from efq.benchmarks.accuracy.parity import AccuracyResults
from efq.benchmarks.report.plots import new_figure, save_figure
from efq.benchmarks.timing.latency import Latency
from efq.toolchain.evaluation.figures.rates import DECISION_FAR, far_name

WANTED_FAR = far_name(DECISION_FAR)

# Whether a network is an artifact: its colour and marker.
_STYLES = {False: ("#D55E00", "s"), True: ("#0072B2", "o")}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A network: median milliseconds a batch, and TAR as a fraction."""

    network: str
    milliseconds: float
    tar: float


def points_of(latencies: Sequence[Latency], accuracy: AccuracyResults) -> tuple[str, list[Point]]:
    """The FAR that was taken, 1e-4 or else the lowest that all networks have, and a point for each timed network.

    Empty where no FAR is common to all.
    """
    measured = {network.network: network.tar for network in accuracy.networks}
    timed = [latency for latency in latencies if latency.network in measured]
    common = set.intersection(*(set(measured[latency.network]) for latency in timed)) if timed else set()
    if not common:
        return WANTED_FAR, []
    far = WANTED_FAR if WANTED_FAR in common else min(common, key=float)
    points = [
        Point(network=latency.network, milliseconds=latency.p50_ms, tar=measured[latency.network][far])
        for latency in timed
    ]
    return far, points


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other is at least as good as in both and better in one, fastest first."""
    ordered = sorted(points, key=lambda point: (point.milliseconds, -point.tar))
    front: list[Point] = []
    for point in ordered:
        if not front or point.tar > front[-1].tar:
            front.append(point)
    return front


def plot_pareto(
    points: Sequence[Point], path: Path, *, far: str, title: str, reference: str, artifacts: Collection[str]
) -> None:
    """Draw every point, numbered from the fastest, with the fronts of the artifacts and of all others as steps.

    `artifacts` names the networks drawn as circles; the others, which a user could take instead, are squares. The
    horizontal axis is logarithmic.
    """
    figure, axes = new_figure(11.0, 5.6)
    for is_artifact, (colour, _) in _STYLES.items():
        front = pareto_front([point for point in points if (point.network in artifacts) is is_artifact])
        places = ([point.milliseconds for point in front], [point.tar * 100 for point in front])
        axes.step(*places, where="post", color=colour, linewidth=1.2, alpha=0.5, zorder=1)
    for number, point in enumerate(sorted(points, key=lambda point: point.milliseconds), start=1):
        colour, marker = _STYLES[point.network in artifacts]
        colour = "#000000" if point.network == reference else colour
        place = (point.milliseconds, point.tar * 100)
        axes.scatter(*place, s=42, color=colour, marker=marker, zorder=2, label=f"{number}  {point.network}")
        offset = (0, 6 if number % 2 else -14)  # neighbours above and below, so that their numbers do not meet
        axes.annotate(str(number), place, textcoords="offset points", xytext=offset, ha="center", fontsize=8)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.margins(x=0.08, y=0.12)
    axes.set_xlabel("ms a batch, median")
    axes.set_ylabel(f"TAR at FAR {far}, %")
    axes.set_title(title)
    axes.grid(True, which="major", color="#DDDDDD")
    save_figure(figure, path)
