"""What a teacher was trained to be fed: the order of its colors, the normalization of its pixels, its size."""

from __future__ import annotations

import dataclasses
from typing import Literal, Self

from efq.runtime.faces.normalization import Normalization, text_of
from efq.runtime.faces.templates import usual_alignment

ColorOrder = Literal["rgb", "bgr", "gray"]
COLOR_ORDERS: tuple[ColorOrder, ...] = ("rgb", "bgr", "gray")

_SAME = 0.01  # no network tells normalizations apart whose ends differ by a hundredth of their range


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TeacherInput:
    """`normalization` is that of the channels R, G and B, whatever the order in which the network reads them.

    color_order: "gray" for a network of the luminance Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, as OpenCV and
    Pillow compute it), in one channel or three times. Its normalization is the same for all channels.
    size: height and width in pixels. alignment: the landmark template of its crops; "" for the usual one of the size.
    """

    color_order: ColorOrder
    normalization: Normalization
    size: tuple[int, int] = (112, 112)
    alignment: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "alignment", self.alignment or usual_alignment(*self.size))

    def same_as(self, other: Self) -> bool:
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
        """As `DeclaredInput.parse` reads it; size and template only where they are not 112x112 and the usual one."""
        parts = [self.color_order, text_of(self.normalization, reverse=self.color_order == "bgr")]
        if self.size != (112, 112):
            parts.append(f"{self.size[0]}x{self.size[1]}")
        if self.alignment != usual_alignment(*self.size):
            parts.append(self.alignment)
        return ",".join(parts)
