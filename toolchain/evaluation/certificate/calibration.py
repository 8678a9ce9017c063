"""Cosine to the probability that two faces are of one person: logistic regression, tested on people it has not seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.runtime.certificate.calibration import Calibration, ReliabilityBin
from efq.runtime.errors import InputError
from efq.toolchain.evaluation.certificate.resamples import rounded
from efq.toolchain.evaluation.figures.error_rates import ScoreHistogram, score_histogram

PRIOR = 0.5
BINS = 10

_STEPS = 100
_TOLERANCE = 1e-10
_RIDGE = 1e-9  # keeps the slope finite where scores of both kinds do not overlap

Weights = tuple[NDArray[np.float64], NDArray[np.float64]]
Fit = tuple[float, float]


def calibrate(embeddings: NDArray[np.float32], labels: NDArray[np.int64], *, prior: float = PRIOR) -> Calibration:
    """Of unit-length `embeddings` (N, d) of the people `labels` (N,), fitted on all pairs.

    Genuine pairs together weigh `prior`, impostor pairs the rest: maximum likelihood for data of which so many are
    genuine (Bruemmer and du Preez, Computer Speech and Language 2006). The people are halved, those with most images in
    turn, and pairs of either half are predicted by what was fitted on the other. Raises InputError where fewer than two
    people have two images.
    """
    halves = [score_histogram(embeddings[half], labels[half]) for half in _halves(labels)]
    slope, offset = fit_logistic(score_histogram(embeddings, labels), prior)
    fits = [fit_logistic(half, prior) for half in halves]
    bins, error = _reliability(list(zip(halves, reversed(fits), strict=True)), prior)
    return Calibration(
        slope=rounded(slope), offset=rounded(offset), prior=prior, bins=bins, expected_error=rounded(error)
    )


def fit_logistic(found: ScoreHistogram, prior: float) -> Fit:
    """Slope and offset, by Newton's method; scores are those of the middles of the histogram's bins."""
    scores = _middles(found)
    genuine, impostor = _weights(found, prior)
    design = np.stack([scores, np.ones_like(scores)], axis=1)
    weights, target = genuine + impostor, genuine
    fit = np.array([0.0, np.log(prior / (1.0 - prior))])
    ridge = np.diag([_RIDGE, 0.0])
    loss = _loss(design @ fit, genuine, impostor) + fit @ ridge @ fit / 2.0
    for _ in range(_STEPS):
        predicted = _sigmoid(design @ fit)
        gradient = design.T @ (weights * predicted - target) + ridge @ fit
        curvature = (design * (weights * predicted * (1.0 - predicted))[:, None]).T @ design + ridge
        step, length = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient), 1.0
        while True:
            moved = fit - length * step
            found_loss = _loss(design @ moved, genuine, impostor) + moved @ ridge @ moved / 2.0
            if found_loss <= loss or length < _TOLERANCE:
                break
            length /= 2.0
        done, fit, loss = loss - found_loss < _TOLERANCE, moved, found_loss
        if done:
            break
    return float(fit[0]), float(fit[1])


def _halves(labels: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    identity = np.unique(labels, return_inverse=True)[1]
    sizes = np.bincount(identity)
    if (sizes > 1).sum() < 2 or len(sizes) < 4:
        message = f"expected four people, two of them with two images, to calibrate scores, found {len(sizes)}, "
        raise InputError(message + f"{(sizes > 1).sum()} with two; give more faces")
    place = np.empty(len(sizes), np.int64)
    place[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    first = (place % 2 == 0)[identity]
    return first, ~first


def _reliability(halves: list[tuple[ScoreHistogram, Fit]], prior: float) -> tuple[tuple[ReliabilityBin, ...], float]:
    """Bins of the predictions of both halves, which weigh the same, and the mean error over them."""
    sums = np.zeros((5, BINS))  # prediction, weight of genuine ones, weight of all, genuine and impostor pairs
    for found, (slope, offset) in halves:
        predicted = _sigmoid(slope * _middles(found) + offset)
        genuine, impostor = (part / len(halves) for part in _weights(found, prior))
        places = np.minimum((predicted * BINS).astype(np.int64), BINS - 1)
        rows = (predicted * (genuine + impostor), genuine, genuine + impostor, found.genuine, found.impostor)
        sums += np.array([np.bincount(places, weights=row, minlength=BINS) for row in rows])
    filled = sums[2] > 0
    error = float(np.abs(sums[0] - sums[1])[filled].sum())
    bins = tuple(
        ReliabilityBin(
            low=place / BINS,
            high=(place + 1) / BINS,
            predicted=rounded(sums[0, place] / sums[2, place]) if filled[place] else None,
            observed=rounded(min(sums[1, place] / sums[2, place], 1.0)) if filled[place] else None,
            weight=rounded(min(sums[2, place], 1.0)),
            genuine=int(sums[3, place]),
            impostor=int(sums[4, place]),
        )
        for place in range(BINS)
    )
    return bins, min(error, 1.0)


def _weights(found: ScoreHistogram, prior: float) -> Weights:
    return prior * found.genuine / found.genuine_pairs, (1.0 - prior) * found.impostor / found.impostor_pairs


def _middles(found: ScoreHistogram) -> NDArray[np.float64]:
    return (found.edges[1:] + found.edges[:-1]) / 2.0


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -700.0, 700.0))))


def _loss(values: NDArray[np.float64], genuine: NDArray[np.float64], impostor: NDArray[np.float64]) -> float:
    return float(genuine @ np.logaddexp(0.0, -values) + impostor @ np.logaddexp(0.0, values))
