"""Numbers: Python's and numpy's scalars, never a bool or text, which would compare or count by accident."""

from __future__ import annotations

import math
import numbers

import numpy as np

from efq.runtime.errors import UsageError


def number(value: object, expected: str, *, least: float = -math.inf, most: float = math.inf) -> float:
    """`value` as a float, finite and from `least` to `most`.

    Raises UsageError for another, and for what is no real number; `expected` ("a threshold of -1 to 1") is for it.
    """
    plain = _plain(value)
    if isinstance(plain, numbers.Real) and not isinstance(plain, (bool, np.bool_)):
        found = _float(plain)
        if math.isfinite(found) and least <= found <= most:
            return found
    raise _refused(value, expected)


def whole_number(value: object, expected: str, *, least: int, most: int | None = None) -> int:
    """`value` as an int from `least` to `most`. Raises UsageError as `number`, and for 3.0."""
    plain = _plain(value)
    if isinstance(plain, numbers.Integral) and not isinstance(plain, (bool, np.bool_)):
        found = int(plain)
        if least <= found and (most is None or found <= most):
            return found
    raise _refused(value, expected)


def _plain(value: object) -> object:
    """The scalar of an array without dimensions."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _float(value: numbers.Real) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _refused(value: object, expected: str) -> UsageError:
    kind = "" if isinstance(value, (int, float)) else f", {type(value).__name__}"
    return UsageError(f"expected {expected}, found {repr(value)[:100]}{kind}")
