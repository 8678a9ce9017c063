"""How the figures of a certificate are written: percent with two decimals, cosines with four, FMR as 1.02e-4."""

from __future__ import annotations

from collections.abc import Callable

from efq.benchmarks.pages.markup import Html, join, small, text
from efq.runtime.certificate.rates import Estimate
from efq.toolchain.evaluation.figures.limits import ENOUGH_ERRORS

MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"


def count(value: int) -> str:
    """12,345"""
    return f"{value:,}"


def percent(share: float) -> str:
    """A share in percent, without the sign: "4.32"; below a tenth "0.0021", as two decimals leave little of that."""
    value = 100 * share
    return f"{value:.2g}" if 0 < value < 0.1 else f"{value:.2f}"


def percent_sign(share: float) -> str:
    """ "4.32 %", on one line."""
    return f"{percent(share)}{NBSP}%"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign: "+0.43"."""
    value = f"{100 * difference:+.2f}"
    return "0.00" if float(value) == 0 else value.replace("-", MINUS)


def cosine(value: float) -> str:
    """A cosine or a threshold: "0.3600"."""
    return f"{value:.4f}".replace("-", MINUS)


def rate(share: float) -> str:
    """A rate by its power of ten: "1e-4", "1.02e-4", and "0", "1"."""
    if share in (0, 1):
        return f"{share:g}"
    mantissa, exponent = f"{share:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def one_in(share: float) -> str:
    """Of how many pairs or searches a rate is one: "1 in 10,000"."""
    return f"1 in {round(1 / share):,}" if share > 0 else "none"


def interval(estimate: Estimate, write: Callable[[float], str]) -> str:
    """ "0.20 to 0.61", empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{write(estimate.low)} to {write(estimate.high)}"


def cell(estimate: Estimate | None, write: Callable[[float], str], *notes: str) -> Html:
    """A figure of a table above its interval and notes; "none" where there is nothing that it could be of."""
    if estimate is None:
        return text("none")
    lines = [interval(estimate, write), *notes]
    return join([text(write(estimate.value)), small(*(text(line) for line in lines if line))])


def fmr_cell(fmr: float, *, enough: bool = True) -> Html:
    """The row's name where rows are FMR that were asked for."""
    notes = [one_in(fmr)] if enough else [one_in(fmr), f"under {ENOUGH_ERRORS} false matches"]
    return join([text(rate(fmr)), small(*map(text, notes))])
