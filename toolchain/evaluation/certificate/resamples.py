"""The same resamples of the people for every share of a certificate, so that shares may be subtracted."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.runtime.certificate.rates import Estimate
from efq.toolchain.evaluation.figures.intervals import difference_interval, rate_interval
from efq.toolchain.evaluation.figures.variance import degrees_of_freedom, rate_by_people


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Share:
    """A share, its `samples` (R,), NaN where a resample has nothing to share, and of how many `people` it is.

    degrees: of freedom of its variance (`figures.variance`).
    """

    value: float
    samples: NDArray[np.float64]
    people: int
    degrees: float

    def estimate(self, confidence: float) -> Estimate:
        """With its interval."""
        interval = rate_interval(self.value, self.samples, self.people, confidence, degrees=self.degrees)
        return estimate(self.value, interval)

    def less(self, other: Share, confidence: float) -> Estimate:
        """The difference to `other`, of the same resamples."""
        value = self.value - other.value
        return estimate(value, difference_interval(value, self.samples - other.samples, confidence))


def estimate(value: float, interval: tuple[float, float] = (np.nan, np.nan)) -> Estimate:
    """As the certificate has it: within -1 and 1, to six digits, and without an interval where that is NaN."""
    low, high = interval
    if np.isnan(low):
        return Estimate(value=rounded(value))
    return Estimate(value=rounded(value), low=rounded(max(low, -1.0)), high=rounded(min(high, 1.0)))


def rounded(value: float) -> float:
    """To six significant digits: more would be noise, and fill the file."""
    return float(f"{float(value):.6g}")


class Resamples:
    """Resamples of the I people of N images.

    An identity drawn w times counts its genuine pairs w times, and impostor pairs of identities i and j count w_i * w_j
    times (`figures.bootstrap`, of which these are the draws for the same seed).
    """

    def __init__(self, labels: NDArray[np.int64], *, resamples: int, seed: int) -> None:
        self.identity = np.unique(labels, return_inverse=True)[1].astype(np.int64)
        self.people = int(self.identity.max()) + 1
        even = np.full(self.people, 1.0 / self.people)
        self.draws = np.random.default_rng(seed).multinomial(self.people, even, size=resamples)

    def by_person(self, identities: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of the (K,) `identities` are of each person, (I,)."""
        return np.bincount(identities, minlength=self.people)

    def of_people(self, errors: NDArray[np.int64], trials: NDArray[np.int64]) -> Share:
        """The share of `errors` among `trials`, of each person, (I,) both."""
        with np.errstate(invalid="ignore", divide="ignore"):
            samples = (self.draws @ errors) / (self.draws @ trials)
        known = rate_by_people(errors, trials)
        return Share(value=known.rate, samples=samples, people=known.people, degrees=known.degrees)

    def of_impostors(
        self, ends: NDArray[np.int64], sizes: NDArray[np.int64], *, ordered: bool, among: float | None = None
    ) -> Share:
        """The share of impostor pairs that are among `ends` (K, 2), identities of two images each.

        sizes: (I,) images of each person that are compared. ordered: whether each two images are two pairs.
        """
        totals = impostor_pairs(self.draws * sizes, ordered=ordered)
        events = np.array([int((draw[ends[:, 0]] * draw[ends[:, 1]]).sum()) for draw in self.draws])
        with np.errstate(invalid="ignore", divide="ignore"):
            samples = events / totals
        total = int(impostor_pairs(sizes[None], ordered=ordered)[0])
        value = len(ends) / total
        of_person = sizes * (sizes.sum() - sizes) * (2 if ordered else 1)
        residuals = np.bincount(ends.ravel(), minlength=self.people) - value * of_person
        return Share(
            value=value,
            samples=np.asarray(samples, np.float64),
            people=int((sizes > 0).sum()),
            degrees=degrees_of_freedom(residuals, of_person),
        )

    def of_all(
        self, of_people: Share, genuine: NDArray[np.int64], of_impostors: Share, sizes: NDArray[np.int64]
    ) -> Share:
        """The share of all pairs, from those of the genuine ones, `genuine` (I,) of each person, and of the others."""
        weights = np.vstack([np.ones(self.people, np.int64), self.draws])
        totals = weights @ genuine, impostor_pairs(weights * sizes, ordered=False)
        shares = [np.append(share.value, np.nan_to_num(share.samples)) for share in (of_people, of_impostors)]
        with np.errstate(invalid="ignore"):
            mixed = sum(share * total for share, total in zip(shares, totals, strict=True)) / sum(totals)
        degrees = min(of_people.degrees, of_impostors.degrees)
        return Share(value=float(mixed[0]), samples=mixed[1:], people=self.people, degrees=degrees)


def impostor_pairs(images: NDArray[np.int64], *, ordered: bool) -> NDArray[np.int64]:
    """How many pairs of two people there are where each has (..., I) `images`."""
    pairs = images.sum(axis=-1) ** 2 - (images**2).sum(axis=-1)
    return np.asarray(pairs if ordered else pairs // 2, np.int64)
