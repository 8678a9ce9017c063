"""What a benchmark says about each artifact: against the float teacher, the best alternative, the core's limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from efq.benchmarks.report.results import BenchResults, NetworkRecord
from efq.benchmarks.timing.latency import Latency, LatencySetting
from efq.toolchain.evaluation.figures.rates import DECISION_FAR, far_name

EQUAL_ACCURACY = 0.005
"""Alternatives that lose at most half a point of TAR to an artifact are its rivals; more accurate ones always are."""

ACCURACY_FAR = far_name(DECISION_FAR)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """An artifact at one setting.

    student: of which student it is, the same for its artifacts for other targets; None where that is not known.
    over_teacher: the float teacher's median time divided by the artifact's. rival: the fastest alternative of equal
    accuracy (see EQUAL_ACCURACY; every alternative where accuracy was not measured), None when there is none;
    over_rival: its median time divided by the artifact's.
    """

    artifact: str
    student: str | None
    threads: int
    batch: int
    over_teacher: float
    rival: str | None
    over_rival: float | None


def standings(results: BenchResults, setting: LatencySetting) -> list[Standing]:
    """Every artifact's, in the order of the results."""
    return [
        _standing(results, setting, network, _rivals(results, network, setting.networks))
        for network in results.networks
        if network.is_artifact
    ]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SlowerCase:
    """An artifact slower than its rival at one setting; `instead`: the fastest of the same student's that is not."""

    standing: Standing
    instead: Standing | None

    def __str__(self) -> str:
        case, instead = self.standing, self.instead
        threads = f"{case.threads} thread{'s' if case.threads > 1 else ''}"
        assert case.over_rival is not None
        text = f"{case.artifact} at batch {case.batch}, {threads}: {case.rival} is {1 / case.over_rival:.2f} x as fast"
        if instead is None:
            return text
        return (
            f"{text}; of the same student, {instead.artifact} is {instead.over_rival:.2f} x as fast as {instead.rival}"
        )


def slower_cases(results: BenchResults) -> list[SlowerCase]:
    """Every setting in which an artifact is slower than an alternative of equal accuracy."""
    cases = []
    for setting in results.latency:
        everything = standings(results, setting)
        ahead = [standing for standing in everything if (standing.over_rival or 0.0) >= 1]
        cases += [
            SlowerCase(standing=standing, instead=_fastest_of(standing.student, ahead))
            for standing in everything
            if standing.over_rival is not None and standing.over_rival < 1
        ]
    return cases


def _fastest_of(student: str | None, standings: Sequence[Standing]) -> Standing | None:
    own = [standing for standing in standings if student is not None and standing.student == student]
    return max(own, key=lambda standing: standing.over_teacher, default=None)


def accuracy_of(results: BenchResults, network: str) -> float | None:
    """TAR at FAR 1e-4, a fraction; None where it was not measured or there are too few pairs for it."""
    if results.accuracy is None:
        return None
    return results.accuracy.of(network).tar.get(ACCURACY_FAR)


def _rivals(results: BenchResults, artifact: NetworkRecord, latencies: Sequence[Latency]) -> list[Latency]:
    others = {network.name for network in results.networks if not network.is_artifact}
    own = accuracy_of(results, artifact.name)
    if own is not None:
        others = {name for name in others if (accuracy_of(results, name) or 0.0) >= own - EQUAL_ACCURACY}
    return [latency for latency in latencies if latency.network in others]


def _standing(
    results: BenchResults, setting: LatencySetting, artifact: NetworkRecord, rivals: Sequence[Latency]
) -> Standing:
    times = {latency.network: latency for latency in setting.networks}
    own, teacher = times[artifact.name], times[results.reference]
    rival = min(rivals, key=lambda latency: latency.p50_ms, default=None)
    return Standing(
        artifact=artifact.name,
        student=artifact.student,
        threads=setting.threads,
        batch=setting.batch,
        over_teacher=teacher.p50_ms / own.p50_ms,
        rival=None if rival is None else rival.network,
        over_rival=None if rival is None else rival.p50_ms / own.p50_ms,
    )
