"""The student's cosine as a percentage that people can read."""

from __future__ import annotations

import dataclasses
import math

from efq.runtime.certificate.record import Count, Number, Rate, Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReliabilityBin(Record):
    """Held-out pairs whose predicted probability is from `low` to `high`.

    predicted: their mean prediction. observed: the share of genuine ones among them, at the prior. weight: their share
    of all pairs, at the prior. genuine, impostor: how many there are. predicted and observed are None where none is.
    """

    low: Rate
    high: Rate
    predicted: Rate | None
    observed: Rate | None
    weight: Rate
    genuine: Count
    impostor: Count


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration(Record):
    """P(one person | cosine) = 1 / (1 + exp(-(slope * cosine + offset))), where a share `prior` of pairs is genuine.

    Prior-weighted logistic regression on all pairs (Bruemmer and du Preez, Computer Speech and Language 2006). bins and
    expected_error (the mean of |observed - predicted|, by weight) are of pairs of people it was not fitted on: two
    halves of the people, each predicted by the fit of the other.
    """

    slope: Number
    offset: Number
    prior: Rate
    bins: tuple[ReliabilityBin, ...]
    expected_error: Rate

    def percentage(self, cosine: float, *, prior: float | None = None) -> float:
        """The match percentage of a cosine, 0 to 100, for pairs of which a share `prior` is genuine (0 < prior < 1)."""
        shift = 0.0 if prior is None else _logit(prior) - _logit(self.prior)
        exponent = min(max(-(self.slope * cosine + self.offset + shift), -700.0), 700.0)
        return 100.0 / (1.0 + math.exp(exponent))


def _logit(share: float) -> float:
    return math.log(share / (1.0 - share))
