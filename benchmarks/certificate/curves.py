"""The curves behind the figures: DET, FMR and FNMR by threshold, histograms, and the cosine to the teacher."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.certificate.numbers import MINUS, NBSP, cosine, count, percent, rate
from efq.benchmarks.pages.markup import Html, element, headings, section, table, text
from efq.benchmarks.pages.plots import Mark, Series, plot
from efq.benchmarks.pages.scales import linear_axis, log_axis
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.certificate.rates import Histogram, NetworkFigures, RateCurve

_ROWS = 12  # of a plot's table
_BARS = 80  # of a histogram


def curves(record: Certificate) -> Html:
    """All plots, each with its figures as a table."""
    plots = [
        _det(record),
        _cosines(record),
        _by_threshold(record, "teacher", record.teacher, record.deployed.threshold),
        _by_threshold(record, "student", record.student, record.deployed.remapped.threshold),
        _histogram("teacher", record.teacher.histogram, record.deployed.threshold),
        _histogram("student", record.student.histogram, record.deployed.remapped.threshold),
    ]
    return section("curves", text("Curves"), element("div", *plots, class_="plots"))


def _det(record: Certificate) -> Html:
    teacher, student = (_reached(one.det) for one in (record.teacher, record.student))
    fmr = np.concatenate([teacher[0], student[0]])
    fnmr = np.concatenate([teacher[1], student[1]])
    if not len(fmr):
        return Html("")
    pairs = zip(record.teacher.points, record.student.points, strict=True)
    rows = [(text(rate(a.fmr)), text(percent(a.fnmr.value)), text(percent(b.fnmr.value))) for a, b in pairs]
    header = headings("FMR", "Teacher: FNMR, %", "Student: FNMR, %")
    return plot(
        "det",
        title="Detection error trade-off (DET)",
        description=(
            "False non-match rate over false match rate, both logarithmic, of teacher and student; lower is better."
        ),
        x=log_axis("false match rate (FMR)", fmr.min(), fmr.max(), write=rate),
        y=log_axis("false non-match rate (FNMR), %", fnmr.min(), fnmr.max(), write=lambda value: f"{100 * value:g}"),
        series=[
            Series(label="teacher", role="teacher", x=teacher[0], y=teacher[1]),
            Series(label="student", role="student", x=student[0], y=student[1]),
        ],
        figures=table("det-figures", text("Points of the DET."), header, rows),
    )


def _reached(curve: RateCurve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """FMR and FNMR, ascending in FMR, where neither is 0, which has no logarithm."""
    fmr, fnmr = np.array(curve.fmr, np.float64), np.array(curve.fnmr, np.float64)
    kept = (fmr > 0) & (fnmr > 0)
    order = np.argsort(fmr[kept], kind="stable")
    return fmr[kept][order], fnmr[kept][order]


def _by_threshold(record: Certificate, who: str, figures: NetworkFigures, threshold: float) -> Html:
    at, fmr, fnmr = (
        np.array(one, np.float64) for one in (figures.curve.thresholds, figures.curve.fmr, figures.curve.fnmr)
    )
    lowest = 1 / max(record.protocol.impostor_pairs, 1)
    shown = ((fmr > 0) & (fmr < 1)) | ((fnmr > 0) & (fnmr < 1))
    if not shown.any():
        return Html("")
    series = [
        Series(label="FMR", role="first", x=at[fmr > 0], y=fmr[fmr > 0]),
        Series(label="FNMR", role="second", x=at[fnmr > 0], y=fnmr[fnmr > 0]),
    ]
    rows = [
        (text(cosine(at[place])), text(rate(fmr[place])), text(percent(fnmr[place])))
        for place in _spread(np.flatnonzero(shown), _ROWS)
    ]
    header = headings("Threshold", "FMR", "FNMR, %")
    low = max(lowest, min(one.y.min() for one in series if len(one.y)))
    return plot(
        f"{who}-by-threshold",
        title=f"Error rates by threshold, {who}",
        description=f"Of the {who}: the false match rate falls with the threshold, the false non-match rate rises.",
        x=linear_axis("threshold (cosine)", float(at[shown].min()), float(at[shown].max()), write=_tick, marks=8),
        y=log_axis("rate", low, 1.0, write=rate),
        series=series,
        marks=[Mark(label=cosine(threshold), x=threshold)],
        figures=table(f"{who}-by-threshold-figures", text(f"Error rates by threshold, {who}."), header, rows),
    )


def _histogram(who: str, histogram: Histogram, threshold: float) -> Html:
    edges, genuine, impostor = _coarser(histogram)
    if not genuine.any() or not impostor.any():
        return Html("")
    used = np.flatnonzero((genuine > 0) | (impostor > 0))
    first, last = int(used[0]), int(used[-1]) + 1
    genuine, impostor, edges = genuine[first:last], impostor[first:last], edges[first : last + 1]
    shares = [values / values.sum() * 100 for values in (genuine, impostor)]
    steps = edges.repeat(2)[1:-1]
    series = [
        Series(label="genuine pairs", role="first", x=steps, y=shares[0].repeat(2), drawn="area"),
        Series(label="impostor pairs", role="second", x=steps, y=shares[1].repeat(2), drawn="area"),
    ]
    rows = [
        (
            text(f"{cosine(edges[a])} to {cosine(edges[b])}"),
            text(count(int(genuine[a:b].sum()))),
            text(count(int(impostor[a:b].sum()))),
        )
        for a, b in _groups(len(genuine), _ROWS)
    ]
    header = headings("Cosine", "Genuine pairs", "Impostor pairs")
    return plot(
        f"{who}-histogram",
        title=f"Scores of all pairs, {who}",
        description=f"Share of the genuine and of the impostor pairs by cosine, of the {who}.",
        x=linear_axis("cosine", float(edges[0]), float(edges[-1]), write=_tick, marks=8),
        y=linear_axis("pairs of its kind, %", 0, max(float(one.max()) for one in shares) * 1.15, write=_share),
        series=series,
        marks=[Mark(label=cosine(threshold), x=threshold)],
        figures=table(f"{who}-histogram-figures", text(f"Pairs by cosine, {who}."), header, rows),
    )


def _coarser(histogram: Histogram) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The histogram over at most about `_BARS` bins between its first and last pair."""
    genuine, impostor = np.array(histogram.genuine, np.int64), np.array(histogram.impostor, np.int64)
    used = np.flatnonzero((genuine > 0) | (impostor > 0))
    width = 1 if not len(used) else max(1, -(-(int(used[-1]) + 1 - int(used[0])) // _BARS))
    starts = np.arange(0, len(genuine), width)
    edges = np.array(histogram.edges, np.float64)
    kept = np.append(edges[starts], edges[-1])
    return kept, np.add.reduceat(genuine, starts), np.add.reduceat(impostor, starts)


def _cosines(record: Certificate) -> Html:
    found = record.cosine
    cosines = np.array([found.least, *(one.cosine for one in found.percentiles)], np.float64)
    shares = np.array([0.0, *(one.share * 100 for one in found.percentiles)], np.float64)
    rows = [
        (text("least"), text(cosine(found.least))),
        *((text(f"{100 * one.share:g}{NBSP}%"), text(cosine(one.cosine))) for one in found.percentiles),
        (text("mean"), text(cosine(found.mean))),
    ]
    caption = text("Cosine that this share of the images does not exceed.")
    return plot(
        "cosine",
        title="Cosine to the teacher",
        description=(
            "Share of the images whose embeddings by student and teacher have no higher cosine than that on the axis; "
            f"{cosine(found.mean)} on average, {cosine(found.least)} at least."
        ),
        x=linear_axis("cosine of student and teacher, same image", found.least, 1.0, write=_fine, marks=7),
        y=linear_axis("images with no higher cosine, %", 0, 100, write=_share),
        series=[Series(label="student", role="student", x=cosines, y=shares)],
        marks=[Mark(label=f"mean {cosine(found.mean)}", x=found.mean)],
        figures=table("cosine-figures", caption, headings("Images", "Cosine"), rows),
    )


def _spread(places: NDArray[np.int64], most: int) -> list[int]:
    kept = np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(np.int64))
    return [int(place) for place in places[kept]]


def _groups(number: int, most: int) -> list[tuple[int, int]]:
    edges = np.unique(np.linspace(0, number, min(most, number) + 1).round().astype(np.int64)).tolist()
    return list(itertools.pairwise(edges))


def _tick(value: float) -> str:
    return f"{value + 0.0:.1f}".replace("-", MINUS)


def _fine(value: float) -> str:
    return f"{value:.3g}".replace("-", MINUS)


def _share(value: float) -> str:
    return f"{value:g}"
