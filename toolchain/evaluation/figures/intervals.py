"""Confidence intervals of error rates whose trials share people.

Pairs of one person are not independent: an interval counts people, not pairs. The variance of a rate, by people
(`variance`, `bootstrap`), stands in Wilson's interval (1927) as the number of independent trials that would have it
(Fogliato, Patil and Perona, arXiv 2306.01198), with the quantile of Student's t for the few people that a variance is
known from. Only the variance of resamples is used: the interval is about the rate itself, as the resamples of a
statistic of pairs are not (Conti and Clemencon, ICLR 2024, arXiv 2211.07245: they are to be recentred).
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Self

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]

_FEWEST_DEGREES = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class UncertainRate:
    """A rate, its variance by people, and of how many degrees of freedom that is.

    people: of whom the rate is. trials: how many independent ones to count where the variance is 0, as all or none were
    errors.
    """

    rate: float
    variance: float
    degrees: float
    people: int
    trials: float

    def resampled(self, samples: NDArray[np.float64]) -> Self:
        """With the variance of `samples` (R,), the rate in resamples of the people; NaN samples are left out."""
        defined = samples[~np.isnan(samples)]
        variance = float(np.var(defined)) * self.people / max(self.people - 1, 1) if len(defined) else math.nan
        return dataclasses.replace(self, variance=variance)

    def interval(self, confidence: float = 0.95) -> Interval:
        """Wilson's interval of as many independent trials as have this variance; (NaN, NaN) where it is not known."""
        if math.isnan(self.variance):
            return math.nan, math.nan
        if self.variance > 0.0 and 0.0 < self.rate < 1.0:
            effective = self.rate * (1.0 - self.rate) / self.variance
            return wilson_interval(self.rate, effective, confidence, degrees=self.degrees)
        return wilson_interval(self.rate, self.trials, confidence)


def wilson_interval(rate: float, trials: float, confidence: float = 0.95, *, degrees: float = math.inf) -> Interval:
    """Wilson's score interval of a `rate` seen in so many independent `trials`, which need not be whole.

    degrees: of freedom of Student's t, of which the quantile stands for the normal one.
    """
    quantile = student_quantile(0.5 + confidence / 2.0, degrees)
    square = quantile**2 / trials
    centre = (rate + square / 2.0) / (1.0 + square)
    half = quantile * math.sqrt(rate * (1.0 - rate) / trials + square / (4.0 * trials)) / (1.0 + square)
    return (0.0 if rate == 0.0 else max(centre - half, 0.0)), (1.0 if rate == 1.0 else min(centre + half, 1.0))


def rate_interval(
    rate: float,
    samples: NDArray[np.float64],
    people: int,
    confidence: float = 0.95,
    *,
    degrees: float = math.inf,
) -> Interval:
    """Of a `rate` by its `samples` (R,), resamples of `people` people (`UncertainRate.resampled`).

    With 0 or all errors a person is one trial. (NaN, NaN) where every sample is NaN. Give the `degrees` of freedom
    (`degrees_of_freedom`) where few people have errors: without, such intervals are too narrow.
    """
    known = UncertainRate(rate=rate, variance=0.0, degrees=degrees, people=people, trials=people)
    return known.resampled(samples).interval(confidence)


def student_quantile(probability: float, degrees: float) -> float:
    """Of Student's t, by its expansion about the normal quantile (Abramowitz and Stegun, 26.7.5).

    Of 2 degrees of freedom at least; within 1 % from 3, at probabilities of 0.9 to 0.98.
    """
    z, n = statistics.NormalDist().inv_cdf(probability), max(degrees, _FEWEST_DEGREES)
    terms = (
        (z**3 + z) / 4.0,
        (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0,
        (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0,
    )
    return z + sum(term / n**power for power, term in enumerate(terms, 1))


def recentred_interval(value: float, samples: NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """Of any figure, as of a threshold: the middle `confidence` of its `samples`, moved to about `value`.

    NaN samples (undefined resamples) are left out; (NaN, NaN) when no sample is left.
    """
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return math.nan, math.nan
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined - defined.mean(), [tail, 1.0 - tail])
    return value + float(low), value + float(high)


def difference_interval(value: float, samples: NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """Of a difference of two rates: as `recentred_interval`, and with 0 where it is among the middle of the samples.

    Where one pair makes the difference, over a third of the resamples are without it and their mean is not quite
    `value`: the move alone would tell it from none.
    """
    low, high = recentred_interval(value, samples, confidence)
    if math.isnan(low):
        return low, high
    tail = (1.0 - confidence) / 2.0
    least, most = np.nanquantile(samples, [tail, 1.0 - tail])
    return (min(low, 0.0), max(high, 0.0)) if least <= 0.0 <= most else (low, high)
