"""What a float network reads of an image."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Normalization:
    """(pixel - mean) / std for each channel of RGB, pixels from 0 to 255.

    Called on uint8 (N, H, W, 3) it gives float32 (N, 3, H, W).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        offset, scale = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return np.ascontiguousarray(((images - offset) / scale).transpose(0, 3, 1, 2), np.float32)


Numbers = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and std of three channels, in whatever order."""

_NUMBER = r"-?\d+(?:\.\d+)?"
_NUMBERS = rf"({_NUMBER}(?::{_NUMBER}){{0,2}})"
_MEAN_AND_STD = re.compile(f"{_NUMBERS}/{_NUMBERS}", re.ASCII)


def _uniform(mean: float, std: float) -> Normalization:
    return Normalization(mean=(mean,) * 3, std=(std,) * 3)


NORMALIZATIONS: Mapping[str, Normalization] = MappingProxyType(
    {
        "-1..1": _uniform(127.5, 127.5),
        "0..1": _uniform(0.0, 255.0),
        "imagenet": Normalization(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
        "0..255": _uniform(0.0, 1.0),
        "-127.5..127.5": _uniform(127.5, 1.0),
    }
)
"""The usual ones by name. InsightFace's (x - 127.5) / 128 is 127.5/128; it differs from -1..1 by rounding only."""


def mean_and_std(text: str) -> Numbers | None:
    """Of the text MEAN/STD, one number each or three with colons between them; None for any other text."""
    match = _MEAN_AND_STD.fullmatch(text)
    if match is None:
        return None
    mean, std = (tuple(float(part) for part in group.split(":")) for group in match.groups())
    mean, std = (values * 3 if len(values) == 1 else values for values in (mean, std))
    fits = len(mean) == len(std) == 3 and all(abs(value) <= 1e6 for value in (*mean, *std)) and min(std) > 0
    return (mean, std) if fits else None


def text_of(normalization: Normalization, *, reverse: bool, named: bool = True) -> str:
    """Its name where it has one and `named`, else MEAN/STD as `mean_and_std` reads it, `reverse` in the order B, G, R.

    Every digit: what is recorded is read again, and has to be the same.
    """
    for name, known in NORMALIZATIONS.items():
        if named and _close(known, normalization):
            return name
    return "/".join(_numbers(values, reverse=reverse) for values in (normalization.mean, normalization.std))


def _close(one: Normalization, two: Normalization) -> bool:
    return all(
        math.isclose(a, b, abs_tol=1e-9) for a, b in zip((*one.mean, *one.std), (*two.mean, *two.std), strict=True)
    )


def _numbers(values: tuple[float, ...], *, reverse: bool) -> str:
    shown = [np.format_float_positional(value, trim="-") for value in (values[::-1] if reverse else values)]
    return shown[0] if len(set(shown)) == 1 else ":".join(shown)
