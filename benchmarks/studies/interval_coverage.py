"""How often a 95 % interval holds the true error rate: FMR, FNMR and FNMR@FMR of synthetic people, drawn many times.

`python -m efq.benchmarks.studies.interval_coverage` draws people with their images as embeddings, some people harder to
recognize and some more alike to others, and counts how many intervals hold the rates of a population of such people.
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.studies.interval_coverage")

import dataclasses
import math
from collections.abc import Iterator, Mapping

import click
import numpy as np
from numpy.typing import NDArray

from efq.runtime.commands.options import SEED
from efq.runtime.console import efq_command, log
from efq.toolchain.evaluation.figures.bootstrap import bootstrap_tar, percentile_interval, tar_interval
from efq.toolchain.evaluation.figures.far import AllPairs, all_pairs, tar_at_far
from efq.toolchain.evaluation.figures.histogram import ScoreHistogram, histogram_of_scores, score_histogram
from efq.toolchain.evaluation.figures.intervals import Interval, recentred_interval
from efq.toolchain.evaluation.figures.limits import enough_errors
from efq.toolchain.evaluation.figures.variance import false_matches, fmr_by_people, fnmr_by_people

_SIZE = 96  # of an embedding
_SPREAD = 0.975 ** np.arange(_SIZE)  # of people along its axes
_NOISE, _NOISE_SPREAD, _SHIFT = 0.7, 0.3, 0.6
_OTHER_NOISE = 0.3  # what a second network adds
_POPULATION = 100_000
_POPULATION_IMPOSTORS = 12_000

FMRS = (1e-2, 1e-3, 1e-4)
RATES = ("FMR at a threshold", "FNMR at a threshold", "FNMR@FMR", "difference of two networks")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """How many people, and how many images of each: from `fewest` to `most`, each as likely."""

    people: int
    fewest: int
    most: int

    @property
    def name(self) -> str:
        images = f"{self.fewest}" if self.fewest == self.most else f"{self.fewest} to {self.most}"
        return f"{self.people} people, {images} images"


SETTINGS = (
    Setting(people=50, fewest=4, most=4),
    Setting(people=100, fewest=4, most=4),
    Setting(people=200, fewest=2, most=8),
    Setting(people=400, fewest=3, most=3),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What the population does at an FMR: its threshold and FNMR, and the FNMR of the second network."""

    fmr: float
    threshold: float
    fnmr: float
    other_fnmr: float


class Tally:
    """Of intervals that were made for a rate."""

    def __init__(self) -> None:
        self.made = self.held = self.too_high = 0
        self.errors = 0.0

    def add(self, interval: Interval, truth: float, errors: float) -> None:
        """One interval, of a rate that so many errors were seen of."""
        if math.isnan(interval[0]):
            return
        self.made += 1
        self.held += interval[0] <= truth <= interval[1]
        self.too_high += truth < interval[0]
        self.errors += errors


@click.command("interval-coverage")
@click.option("--repeats", type=click.IntRange(10, 100_000), default=1000, show_default=True, help="Of each setting.")
@click.option("--resamples", type=click.IntRange(20, 10_000), default=200, show_default=True, help="Of the bootstrap.")
@click.option("--setting", "chosen", type=click.IntRange(1, len(SETTINGS)), help="Only this one, from 1.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the people.")
@efq_command
def main(repeats: int, resamples: int, chosen: int | None, seed: int) -> None:
    """Count how often intervals of error rates hold the rates of the population that the people are drawn from."""
    truths = population(seed)
    for truth in truths:
        log(f"population: FMR {truth.fmr:g} at {truth.threshold:.4f}, FNMR {100 * truth.fnmr:.2f} %")
    rows = []
    for setting in SETTINGS if chosen is None else SETTINGS[chosen - 1 : chosen]:
        rows += list(rows_of(setting, truths, repeats=repeats, resamples=resamples, seed=seed))
        log(f"{setting.name}: {repeats} drawn")
    print(table(rows))


def draw_people(
    people: int, images: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Embeddings (N, 96) by two networks of `images` (people,) images of each person, and labels (N,)."""
    centres = generator.normal(size=(people, _SIZE)) * _SPREAD
    centres[:, 0] += _SHIFT
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    noise = _NOISE * np.exp(_NOISE_SPREAD * generator.normal(size=people))
    labels = np.repeat(np.arange(people), images)
    unit = generator.normal(size=(len(labels), _SIZE)) / math.sqrt(_SIZE)
    one = centres[labels] + noise[labels, None] * unit
    other = one + _OTHER_NOISE * generator.normal(size=one.shape) / math.sqrt(_SIZE)
    return _normalized(one), _normalized(other), labels


def _normalized(embeddings: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), np.float32)


def population(seed: int) -> list[Truth]:
    """Rates over a great many people, two images of each for FNMR, one for FMR."""
    generator = np.random.default_rng([seed, 1])
    *networks, _ = draw_people(_POPULATION, np.full(_POPULATION, 2), generator)
    scores = [_population_scores(embeddings) for embeddings in networks]
    truths = []
    for fmr in FMRS:
        thresholds = [found.threshold_at(fmr) for found in scores]
        one, other = (found.fnmr(threshold) for found, threshold in zip(scores, thresholds, strict=True))
        truths.append(Truth(fmr=scores[0].fmr(thresholds[0]), threshold=thresholds[0], fnmr=one, other_fnmr=other))
    return truths


def _population_scores(embeddings: NDArray[np.float32]) -> ScoreHistogram:
    genuine = np.einsum("ij,ij->i", embeddings[::2], embeddings[1::2])
    few = embeddings[: 2 * _POPULATION_IMPOSTORS : 2]
    labels = np.arange(len(few))
    labels[1] = 0  # one genuine pair, which a histogram needs and which is not counted below
    impostor = score_histogram(few, labels).impostor
    return ScoreHistogram(genuine=histogram_of_scores(genuine, few[0, :1]).genuine, impostor=impostor)


def rows_of(
    setting: Setting, truths: list[Truth], *, repeats: int, resamples: int, seed: int
) -> Iterator[tuple[str, ...]]:
    """A row of the table for each FMR and rate."""
    tallies: dict[tuple[float, str], dict[str, Tally]] = {}
    for repeat in range(repeats):
        generator = np.random.default_rng([seed, 2, setting.people, repeat])
        images = generator.integers(setting.fewest, setting.most + 1, size=setting.people)
        one, other, labels = draw_people(setting.people, images, generator)
        networks = [all_pairs(embeddings, labels, highest_far=max(FMRS)) for embeddings in (one, other)]
        samples = 1.0 - bootstrap_tar(networks, FMRS, resamples=resamples)
        for place, truth in enumerate(truths):
            for (rate, errors, true), intervals in _intervals(networks, truth, FMRS[place], samples[:, :, place]):
                for kind, interval in intervals.items():
                    kinds = tallies.setdefault((FMRS[place], rate), {})
                    kinds.setdefault(kind, Tally()).add(interval, true, errors)
    for (fmr, rate), kinds in sorted(tallies.items(), key=lambda item: RATES.index(item[0][1])):
        yield _row(setting, fmr, rate, kinds)


def _intervals(
    networks: list[AllPairs], truth: Truth, fmr: float, samples: NDArray[np.float64]
) -> Iterator[tuple[tuple[str, float, float], Mapping[str, Interval]]]:
    """(Rate, errors seen, true rate) and its intervals; `samples` (2, R) of FNMR@FMR."""
    pairs = networks[0]
    matches = false_matches(pairs, truth.threshold)
    if enough_errors(fmr * pairs.impostor_pairs):
        yield (RATES[0], matches, truth.fmr), {"ours": fmr_by_people(pairs, truth.threshold).interval()}
    fixed = fnmr_by_people(pairs, truth.threshold)
    yield (RATES[1], fixed.rate * len(pairs.genuine), truth.fnmr), {"ours": fixed.interval()}
    points = [tar_at_far(network, fmr) for network in networks]
    if not points[0].enough_impostors:
        return
    low, high = tar_interval(pairs, points[0], 1.0 - samples[0])
    fnmr, other = (1.0 - point.tar for point in points)
    yield (
        (RATES[2], fnmr * len(pairs.genuine), truth.fnmr),
        {"ours": (1.0 - high, 1.0 - low), "percentile": percentile_interval(samples[0])},
    )
    apart = samples[1] - samples[0]
    yield (
        (RATES[3], abs(other - fnmr) * len(pairs.genuine), truth.other_fnmr - truth.fnmr),
        {"ours": recentred_interval(other - fnmr, apart), "percentile": percentile_interval(apart)},
    )


def _row(setting: Setting, fmr: float, rate: str, kinds: Mapping[str, Tally]) -> tuple[str, ...]:
    ours = kinds["ours"]
    percentile = kinds.get("percentile")
    return (
        setting.name,
        rate,
        f"{fmr:g}",
        f"{ours.errors / ours.made:,.0f}",
        f"{100 * ours.held / ours.made:.1f} %",
        f"{100 * ours.too_high / ours.made:.1f} / {100 * (ours.made - ours.held - ours.too_high) / ours.made:.1f} %",
        "" if percentile is None else f"{100 * percentile.held / percentile.made:.1f} %",
        f"{ours.made}",
    )


def table(rows: list[tuple[str, ...]]) -> str:
    """As Markdown."""
    heading = ("people", "rate", "FMR", "errors", "held", "above / below", "percentile bootstrap", "intervals")
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
