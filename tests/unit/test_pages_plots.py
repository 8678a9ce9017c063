"""Plots of pages: values lie where the axes say."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from html_pages import Page
from hypothesis import example, given
from hypothesis import strategies as st

from efq.benchmarks.pages.markup import text
from efq.benchmarks.pages.plots import HEIGHT, WIDTH, Mark, Series, plot
from efq.benchmarks.pages.scales import Axis, linear_axis, log_axis


def write(value: float) -> str:
    return f"{value:.3g}"


def test_a_linear_axis_marks_round_values() -> None:
    axis = linear_axis("x", -0.21, 0.97, write=write)
    assert [word for _, word in axis.ticks] == ["-0.2", "0", "0.2", "0.4", "0.6", "0.8"]
    assert axis.fraction([-0.21, 0.38, 0.97, 2.0]) == pytest.approx([0, 0.5, 1, 1])


def test_a_logarithmic_axis_ends_on_round_values_and_spaces_decades_evenly() -> None:
    axis = log_axis("FMR", 3e-7, 0.04, write=write)
    assert (axis.low, axis.high) == pytest.approx((1e-7, 1e-1))
    assert axis.fraction([1e-7, 1e-4, 1e-1]) == pytest.approx([0, 0.5, 1])
    assert [word for _, word in axis.ticks] == ["1e-07", "1e-06", "1e-05", "0.0001", "0.001", "0.01", "0.1"]


def test_a_short_logarithmic_axis_marks_twos_and_fives() -> None:
    axis = log_axis("FNMR", 0.013, 0.04, write=write)
    assert [word for _, word in axis.ticks] == ["0.01", "0.02", "0.05"]
    assert (axis.low, axis.high) == pytest.approx((0.01, 0.05))


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3))
@example(0.0, 5e-324)
@example(1.0, 0.0)
def test_any_linear_axis_can_be_drawn(low: float, width: float) -> None:
    _expect_drawable(linear_axis("x", low, low + width, write=write))


@given(st.floats(1e-9, 1), st.floats(1, 1e6))
def test_any_logarithmic_axis_can_be_drawn_and_holds_its_values(low: float, factor: float) -> None:
    axis = log_axis("x", low, low * factor, write=write)
    _expect_drawable(axis)
    assert axis.low <= low * (1 + 1e-6)
    assert axis.high >= low * factor * (1 - 1e-6)


def _expect_drawable(axis: Axis) -> None:
    assert axis.low < axis.high
    assert 1 <= len(axis.ticks) <= 17
    fractions = axis.fraction([value for value, _ in axis.ticks])
    assert np.all(np.isfinite(fractions))
    assert np.all(np.diff(fractions) > 0)
    assert fractions.min() >= 0
    assert fractions.max() <= 1


def test_a_plot_draws_its_points_within_its_frame_and_says_what_it_is() -> None:
    x = np.linspace(0, 10, 5000)
    series = [
        Series(label="sine", role="student", x=x, y=np.sin(x)),
        Series(label="<b>", role="first", x=x[::1000], y=x[::1000] / 10, drawn="points"),
        Series(label="none", role="second", x=x[:0], y=x[:0], drawn="area"),
        Series(label="hump", role="second", x=x, y=np.exp(-((x - 5) ** 2)), drawn="area"),
    ]
    content = plot(
        "sine",
        title="Sine",
        description="A wave",
        x=linear_axis("x", 0, 10, write=write),
        y=linear_axis("y", -1, 1, write=write),
        series=series,
        marks=[Mark(label="here", x=7)],
        figures=text("figures"),
    )
    page = Page(content)
    (picture,) = (found for found in page.all("svg") if found.attributes.get("role") == "img")
    named = [page.with_id(key).text for key in picture.attributes["aria-labelledby"].split()]
    assert named == ["Sine", "A wave"]
    assert [found.text for found in page.all("li")] == ["sine", "<b>", "none", "hump"]
    assert page.all("summary")
    line = next(found for found in page.all("path") if found.attributes["class"] == "line student")
    points = [tuple(map(float, pair)) for pair in re.findall(r"[ML]([\d.]+) ([\d.]+)", line.attributes["d"])]
    assert 100 < len(points) <= 400
    assert all(0 <= a <= WIDTH and 0 <= b <= HEIGHT for a, b in points)
    left, right = points[0][0], points[-1][0]
    top, bottom = min(b for _, b in points), max(b for _, b in points)
    a, b = points[len(points) // 3]
    at = (a - left) / (right - left) * 10
    assert math.sin(at) == pytest.approx(1 - 2 * (b - top) / (bottom - top), abs=0.02)
    assert len(page.all("circle")) == 5 + 1  # and one in the legend
