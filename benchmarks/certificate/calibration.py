"""Cosine as a match percentage, and how far that can be trusted."""

from __future__ import annotations

import numpy as np

from efq.benchmarks.certificate.numbers import MINUS, NBSP, count, percent
from efq.benchmarks.pages.markup import Html, element, headings, paragraph, section, table, text
from efq.benchmarks.pages.plots import Series, plot
from efq.benchmarks.pages.scales import linear_axis
from efq.runtime.certificate.calibration import Calibration
from efq.runtime.certificate.certificate import Certificate

_PRIORS = (0.5, 0.1, 0.01, 0.001)


def calibration(record: Certificate) -> Html:
    """The formula, a table from cosine to percentage, and the reliability of held-out pairs."""
    found = record.calibration
    offset = f"{MINUS if found.offset < 0 else '+'} {abs(found.offset):.4g}"
    formula = f"100 / (1 + exp({MINUS}({found.slope:.4g} x cosine {offset})))".replace(
        " x ", " \N{MULTIPLICATION SIGN} "
    )
    intro = (
        "How likely two images with this cosine are of one person, for the student, when "
        f"{_share(found.prior)} of the pairs that are compared are. It depends on that share more than on anything "
        "else: a search among a thousand strangers and a check of one passport are not the same question."
    )
    error = (
        "On pairs of people it was not fitted on, percentage and observed share differ by "
        f"{percent(found.expected_error)} points on average."
    )
    return section(
        "percentage",
        text("A match percentage"),
        paragraph(text(intro)),
        paragraph(element("code", text(formula))),
        _by_prior(found),
        paragraph(text(error)),
        element("div", _reliability(found), class_="plots"),
    )


def _by_prior(found: Calibration) -> Html:
    priors = sorted({*_PRIORS, found.prior}, reverse=True)
    rows = [
        (
            text(f"{value:.2f}".replace("-", MINUS)),
            *(text(_percentage(found.percentage(value, prior=prior))) for prior in priors),
        )
        for value in _cosines(found)
    ]
    header = headings("Cosine", *(f"{_share(prior)} genuine" for prior in priors))
    caption = "Match percentage by cosine, for several shares of genuine pairs among those that are compared."
    return table("percentages", text(caption), header, rows)


def _cosines(found: Calibration) -> list[float]:
    """Round cosines, a twentieth apart, where the percentage changes for one of the priors."""
    values = np.linspace(-0.2, 0.9, 23)
    changing = [
        value
        for value in values.tolist()
        if found.percentage(value, prior=_PRIORS[0]) > 2 and found.percentage(value, prior=_PRIORS[-1]) < 99.5
    ]
    return [round(value, 2) for value in changing]


def _reliability(found: Calibration) -> Html:
    bins = [one for one in found.bins if one.predicted is not None and one.observed is not None]
    predicted = np.array([one.predicted for one in bins], np.float64) * 100
    observed = np.array([one.observed for one in bins], np.float64) * 100
    ends = np.array([0.0, 100.0])
    rows = [
        (
            text(f"{100 * one.low:g} to {100 * one.high:g}"),
            text("none" if one.predicted is None else percent(one.predicted)),
            text("none" if one.observed is None else percent(one.observed)),
            text(count(one.genuine)),
            text(count(one.impostor)),
            text(percent(one.weight)),
        )
        for one in found.bins
    ]
    header = headings("Percentage", "Mean", "Observed, %", "Genuine pairs", "Impostor pairs", "Weight, %")
    figures = table("reliability-figures", text("Held-out pairs by match percentage."), header, rows)
    return plot(
        "reliability",
        title="Reliability of the match percentage",
        description=(
            "Share of genuine pairs over the mean match percentage of held-out pairs, a point for each bin; on the "
            "diagonal the percentage is what happens."
        ),
        x=linear_axis("match percentage", 0, 100, write=_whole),
        y=linear_axis("observed share of genuine pairs, %", 0, 100, write=_whole),
        series=[
            Series(label="as it should be", role="reference", x=ends, y=ends),
            Series(label="student", role="student", x=predicted, y=observed, drawn="points"),
        ],
        figures=figures,
    )


def _share(value: float) -> str:
    return f"{100 * value:.3g}{NBSP}%"


def _percentage(value: float) -> str:
    """With one decimal, and never a certainty that the fit cannot have."""
    return "under 0.1" if value < 0.05 else "over 99.9" if value >= 99.95 else f"{value:.1f}"


def _whole(value: float) -> str:
    return f"{value:.0f}"
