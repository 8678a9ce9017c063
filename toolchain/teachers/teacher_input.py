"""What a teacher was trained to be fed: the order of its colors and the normalization of its pixels."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Self

from efq.runtime.artifact.contract import LARGEST_SIDE
from efq.runtime.errors import UsageError
from efq.runtime.faces.normalization import Normalization

ColorOrder = Literal["rgb", "bgr"]
COLOR_ORDERS: tuple[ColorOrder, ...] = ("rgb", "bgr")

_SAME = 0.01  # no network tells normalizations apart whose ends differ by a hundredth of their range


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

EXPECTED = (
    f"rgb or bgr, a normalization ({', '.join(NORMALIZATIONS)}, or MEAN/STD in pixels), a size (160x160), or several "
    "with commas between them: bgr,0..1"
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TeacherInput:
    """`normalization` is that of the channels R, G and B, whatever the order in which the network reads them.

    size: height and width in pixels.
    """

    color_order: ColorOrder
    normalization: Normalization
    size: tuple[int, int] = (112, 112)

    @classmethod
    def parse(cls, text: str, default: TeacherInput) -> Self:
        """From `rgb` or `bgr`, a normalization and a size, or some of them with commas; `default` gives the others.

        A normalization is one of `NORMALIZATIONS` by name or MEAN/STD: one number each, or three with colons between
        them in the order the network reads its channels. A size is HEIGHTxWIDTH. Raises UsageError for other text.
        """
        parts = [part.strip().lower() for part in text.split(",")]
        colors = [color for color in COLOR_ORDERS if color in parts]
        sizes = [part for part in parts if re.fullmatch(r"[1-9]\d{0,3}x[1-9]\d{0,3}", part, re.ASCII)]
        others = [part for part in parts if part not in (*colors, *sizes)]
        if len(colors) > 1 or len(sizes) > 1 or len(others) > 1 or len(set(parts)) < len(parts):
            raise _unknown(text)
        color = colors[0] if colors else default.color_order
        normalization, size = default.normalization, default.size
        if others:
            normalization = NORMALIZATIONS.get(others[0]) or _mean_and_std(others[0], color, text)
        if sizes:
            height, width = (int(side) for side in sizes[0].split("x"))
            if max(height, width) > LARGEST_SIDE:
                raise _unknown(text)
            size = height, width
        return cls(color_order=color, normalization=normalization, size=size)

    def same_as(self, other: TeacherInput) -> bool:
        """Whether a network cannot tell the two apart."""
        if (self.color_order, self.size) != (other.color_order, other.size):
            return False
        one, two = self.normalization, other.normalization
        channels = zip(one.mean, one.std, two.mean, two.std, strict=True)
        return all(
            abs((end - mean) / std - (end - other_mean) / other_std) <= _SAME * 255 / other_std
            for mean, std, other_mean, other_std in channels
            for end in (0.0, 255.0)
        )

    def __str__(self) -> str:
        """As `parse` reads it; the size only where it is not 112x112."""
        size = "" if self.size == (112, 112) else f",{self.size[0]}x{self.size[1]}"
        for name, known in NORMALIZATIONS.items():
            if _close(known, self.normalization):
                return f"{self.color_order},{name}{size}"
        mean, std = (_numbers(values, self.color_order) for values in (self.normalization.mean, self.normalization.std))
        return f"{self.color_order},{mean}/{std}{size}"


def _close(one: Normalization, two: Normalization) -> bool:
    return all(
        math.isclose(a, b, abs_tol=1e-9) for a, b in zip((*one.mean, *one.std), (*two.mean, *two.std), strict=True)
    )


def _numbers(values: tuple[float, ...], color: ColorOrder) -> str:
    ordered = values if color == "rgb" else values[::-1]
    return f"{ordered[0]:g}" if len(set(ordered)) == 1 else ":".join(f"{value:g}" for value in ordered)


def _mean_and_std(text: str, color: ColorOrder, whole: str) -> Normalization:
    number = r"-?\d+(?:\.\d+)?"
    match = re.fullmatch(rf"({number}(?::{number}){{0,2}})/({number}(?::{number}){{0,2}})", text, re.ASCII)
    if match is None:
        raise _unknown(whole)
    values = []
    for group in match.groups():
        found = tuple(float(part) for part in group.split(":"))
        found = found * 3 if len(found) == 1 else found
        if len(found) != 3 or not all(abs(value) <= 1e6 for value in found):
            raise _unknown(whole)
        values.append(found if color == "rgb" else found[::-1])
    if not all(value > 0 for value in values[1]):
        raise _unknown(whole)
    return Normalization(mean=values[0], std=values[1])


def _unknown(text: str) -> UsageError:
    return UsageError(f"expected as a teacher's input {EXPECTED}; found {text!r}")
