"""Axes of a plot: where a value lies on them and which values are marked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

_STEPS = (1.0, 2.0, 5.0)  # of tick marks, times powers of ten
_NARROWEST = 1e-6  # of an axis, relative to its values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """From `low` to `high`, both finite, low < high; above zero where it is logarithmic.

    ticks: marked values, and how each is written.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def fraction(self, values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Where values lie: 0 at `low`, 1 at `high`, and no further than those."""
        clipped = np.clip(np.asarray(values, np.float64), self.low, self.high)
        if self.logarithmic:
            return np.asarray((np.log(clipped) - math.log(self.low)) / (math.log(self.high) - math.log(self.low)))
        return np.asarray((clipped - self.low) / (self.high - self.low))


def linear_axis(label: str, low: float, high: float, *, write: Callable[[float], str], marks: int = 6) -> Axis:
    """From `low` to `high` with at most about `marks` ticks on round values; half a unit to each side of a point."""
    if high - low < _NARROWEST * max(1.0, abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    power = 10.0 ** math.floor(math.log10((high - low) / marks))
    step = next(size * power for size in (*_STEPS, 10.0) if (high - low) / (size * power) <= marks)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple((number * step, write(number * step)) for number in range(first, last + 1))
    return Axis(label=label, low=low, high=high, ticks=ticks)


def log_axis(label: str, low: float, high: float, *, write: Callable[[float], str]) -> Axis:
    """From a round value at or below `low` to one at or above `high`, both above zero.

    Ticks are powers of ten, and 2 and 5 times those where there are fewer than three.
    """
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(max(high, low * 1.01)) - 1e-9)
    decades = range(first, last + 1)
    steps = (1.0,) if len(decades) > 3 else _STEPS
    values = [step * 10.0**decade for decade in decades for step in steps]
    start = max((value for value in values if value <= low * (1 + 1e-9)), default=values[0])
    end = min((value for value in values if value >= high * (1 - 1e-9) and value > start), default=values[-1])
    ticks = tuple((value, write(value)) for value in values if start <= value <= end)
    return Axis(label=label, low=start, high=end, ticks=ticks, logarithmic=True)
