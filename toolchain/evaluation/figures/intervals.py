"""Confidence intervals of error rates whose pairs share people.

Pairs of one person are not independent, so an interval counts people, not pairs: the variance of a rate is found by
resampling people (`bootstrap`), and stands in Wilson's interval (1927) as the number of independent trials that would
have it (Fogliato et al., arXiv 2306.01198). Centred on the rate itself, as the resamples of a statistic of pairs are
centred elsewhere (Conti and Clemencon, ICLR 2024, arXiv 2211.07245): they are recentred.
"""

from __future__ import annotations

import math
import statistics

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]


def wilson_interval(rate: float, trials: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a `rate` seen in so many independent `trials`, which need not be whole."""
    z = statistics.NormalDist().inv_cdf(0.5 + confidence / 2.0)
    shrink = 1.0 + z**2 / trials
    centre = (rate + z**2 / (2.0 * trials)) / shrink
    half = z * math.sqrt(rate * (1.0 - rate) / trials + z**2 / (4.0 * trials**2)) / shrink
    return (0.0 if rate == 0.0 else centre - half), (1.0 if rate == 1.0 else centre + half)


def rate_interval(rate: float, samples: NDArray[np.float64], people: int, confidence: float = 0.95) -> Interval:
    """Of a `rate` in [0, 1], by the variance of its `samples` (R,), resamples of `people` people.

    NaN samples (undefined resamples) are left out. Without an error, or with nothing but errors, all resamples are
    alike: then a person is one trial. (NaN, NaN) when no sample is left.
    """
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return math.nan, math.nan
    variance = float(np.var(defined))
    trials = rate * (1.0 - rate) / variance if variance > 0.0 and 0.0 < rate < 1.0 else float(people)
    return wilson_interval(rate, trials, confidence)


def recentred_interval(value: float, samples: NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """Of any figure, as of a difference of two rates: the middle `confidence` of its `samples`, moved to about `value`.

    NaN samples are left out; (NaN, NaN) when no sample is left.
    """
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return math.nan, math.nan
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined - defined.mean(), [tail, 1.0 - tail])
    return value + float(low), value + float(high)
