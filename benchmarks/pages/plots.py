"""Plots as SVG inside a page: coloured by its style sheet, in light and dark, and told to who cannot see them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.pages.markup import Html, details, element, join, text
from efq.benchmarks.pages.scales import Axis

WIDTH, HEIGHT = 460, 300  # of the view box; the style sheet says how large it is shown
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 50
_MOST_POINTS = 400

Role = Literal["teacher", "student", "reference", "first", "second"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """Points (N,) to draw: a line, single points, or an area down to the axis.

    role: its colour and its dashes, which style sheet and legend share.
    """

    label: str
    role: Role
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    drawn: Literal["line", "points", "area"] = "line"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
    """A line across the plot at a value of the horizontal axis, with its name; none outside the axis."""

    label: str
    x: float


def plot(
    key: str,
    *,
    title: str,
    description: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    marks: Sequence[Mark] = (),
    figures: Html | None = None,
) -> Html:
    """A figure: its title, the plot, what its lines are, and its figures as a table that opens on demand.

    `key` is its id in the page; `description` says in words what the plot shows.
    """
    seen = [mark for mark in marks if x.low <= mark.x <= x.high]
    shapes = [_grid(x, y), *(_mark(mark, x) for mark in seen), *(_shape(one, x, y) for one in series), _labels(x, y)]
    picture = element(
        "svg",
        element("title", text(title), id=f"{key}-title"),
        element("desc", text(description), id=f"{key}-description"),
        *shapes,
        class_="plot",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby=f"{key}-title {key}-description",
    )
    legend = element("ul", *(element("li", _sample(one), text(one.label)) for one in series), class_="legend")
    caption = element("figcaption", text(title))
    shown = details("Figures of this plot", title, figures) if figures else Html("")
    return element("figure", caption, picture, legend, shown, id=key)


def _across(axis: Axis, values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(_LEFT + axis.fraction(values) * (WIDTH - _LEFT - _RIGHT))


def _down(axis: Axis, values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(_TOP + (1 - axis.fraction(values)) * (HEIGHT - _TOP - _BOTTOM))


def _grid(x: Axis, y: Axis) -> Html:
    columns = _across(x, [value for value, _ in x.ticks])
    rows = _down(y, [value for value, _ in y.ticks])
    lines = [f"M{at:.1f} {_TOP}V{HEIGHT - _BOTTOM}" for at in columns]
    lines += [f"M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}" for at in rows]
    frame = f"M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"
    return join([element("path", class_="grid", d="".join(lines)), element("path", class_="frame", d=frame)])


def _labels(x: Axis, y: Axis) -> Html:
    below, beside = HEIGHT - _BOTTOM + 17, _LEFT - 7
    columns, rows = _across(x, [value for value, _ in x.ticks]), _down(y, [value for value, _ in y.ticks])
    found = [_word(word, at, below, "middle") for at, (_, word) in zip(columns, x.ticks, strict=True)]
    found += [_word(word, beside, at + 4, "end") for at, (_, word) in zip(rows, y.ticks, strict=True)]
    middle = _TOP + (HEIGHT - _TOP - _BOTTOM) / 2
    found.append(_word(x.label, _LEFT + (WIDTH - _LEFT - _RIGHT) / 2, HEIGHT - 10, "middle", class_="axis"))
    turned = {"transform": f"rotate(-90 14 {middle:.1f})", "class_": "axis"}
    found.append(_word(y.label, 14, middle, "middle", **turned))
    return element("g", *found)


def _word(word: str, x: float, y: float, anchor: str, **attributes: str) -> Html:
    return element("text", text(word), x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, **attributes)


def _mark(mark: Mark, x: Axis) -> Html:
    at = float(_across(x, [mark.x])[0])
    left = at > WIDTH / 2
    word = _word(mark.label, at - 5 if left else at + 5, _TOP + 11, "end" if left else "start", class_="mark")
    return join([element("path", class_="mark", d=f"M{at:.1f} {_TOP}V{HEIGHT - _BOTTOM}"), word])


def _shape(series: Series, x: Axis, y: Axis) -> Html:
    if not len(series.x):
        return Html("")
    across, down = _across(x, series.x), _down(y, series.y)
    if series.drawn == "points":
        return _points(series, across, down)
    line = _path(across, down)
    if series.drawn == "area":
        floor = HEIGHT - _BOTTOM
        area = f"{line}V{floor}H{across[0]:.1f}Z"
        outline = element("path", class_=f"outline {series.role}", d=line)
        return join([element("path", class_=f"area {series.role}", d=area), outline, _peak(series, across, down)])
    return element("path", class_=f"line {series.role}", d=line)


def _peak(series: Series, across: NDArray[np.float64], down: NDArray[np.float64]) -> Html:
    """The area's name above its peak, as colour alone would not say which it is."""
    place = int(np.argmin(down))
    at = float(np.clip(across[place], _LEFT + 45, WIDTH - _RIGHT - 45))
    return _word(series.label, at, float(down[place]) - 6, "middle", class_="peak")


def _points(series: Series, across: NDArray[np.float64], down: NDArray[np.float64]) -> Html:
    return element("g", *(_point(series, f"{a:.1f}", f"{b:.1f}") for a, b in zip(across, down, strict=True)))


def _point(series: Series, across: str, down: str) -> Html:
    return element("circle", cx=across, cy=down, r=3.5, class_=f"point {series.role}")


def _path(across: NDArray[np.float64], down: NDArray[np.float64]) -> str:
    """Through at most about `_MOST_POINTS` of the points, the first and the last among them."""
    if len(across) > _MOST_POINTS:
        kept = np.unique(np.linspace(0, len(across) - 1, _MOST_POINTS).round().astype(np.int64))
        across, down = across[kept], down[kept]
    points = [f"{a:.1f} {b:.1f}" for a, b in zip(across, down, strict=True)]
    return "M" + "L".join(point for point, _ in itertools.groupby(points))


def _sample(series: Series) -> Html:
    """The line of the legend."""
    shape = (
        _point(series, "14", "5")
        if series.drawn == "points"
        else element("path", class_=f"{'outline' if series.drawn == 'area' else 'line'} {series.role}", d="M1 5H27")
    )
    return element("svg", shape, class_="sample", viewBox="0 0 28 10", aria_hidden="true")
