"""The surface of an artifact's graph: what is fed to it, which its users choose by the server they serve it with.

Behind it lies one graph of integers on bytes of pixels, so that the embeddings of an image are the same whatever the
surface, to the bit.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.arguments import instance_of
from efq.runtime.arguments import text as checked_text
from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import SchemaError, UsageError
from efq.runtime.faces.normalization import NORMALIZATIONS, Normalization, mean_and_std, text_of

LARGEST_BATCH = 1024
"""The most images of a fixed batch."""

Form = Literal["uint8-nhwc", "uint8-nchw", "float-nchw"]
FORMS: tuple[Form, ...] = ("uint8-nhwc", "uint8-nchw", "float-nchw")
ColorOrder = Literal["rgb", "bgr"]
COLOR_ORDERS: tuple[ColorOrder, ...] = ("rgb", "bgr")

RAW = "raw"
"""Pixels from 0 to 255 as floats: the normalization 0..255 by another name."""

EXPECTED = (
    f"{', '.join(FORMS[:-1])} or {FORMS[-1]}, with commas behind it rgb or bgr, batch=N for a fixed batch, and of "
    f"floats a normalization ({RAW}, {', '.join(NORMALIZATIONS)}, or MEAN/STD in pixels): float-nchw,bgr,{RAW},batch=1"
)

_MARGIN = 0.25  # of the distance of two pixel values, which other roundings of a normalization stay below


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """What the graph of an artifact takes.

    form: type and layout, of bytes (N, H, W, 3) or (N, 3, H, W), or of float32 (N, 3, H, W). color_order: of the three
    channels. normalization: of floats, in the order R, G, B whatever the color order; None for bytes. batch: N, None
    where it is free.
    Raises UsageError for a normalization from which pixels cannot be told again, and for other values.
    """

    form: Form = "uint8-nhwc"
    color_order: ColorOrder = "rgb"
    normalization: Normalization | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.form not in FORMS or self.color_order not in COLOR_ORDERS:
            raise _unknown(self.form, self.color_order)
        if self.batch is not None and not (type(self.batch) is int and 1 <= self.batch <= LARGEST_BATCH):
            message = f"expected a fixed batch of 1 to {LARGEST_BATCH} images, found {self.batch!r}"
            raise UsageError(message)
        if self.normalization is not None:
            instance_of(self.normalization, Normalization, "a Normalization, or Interface.parse of a text")
        if self.is_float == (self.normalization is None):
            raise _unknown(self.form, "no normalization" if self.is_float else self.normalization)
        if self.normalization is not None and not _is_exact(self.normalization):
            message = (
                "expected a normalization that keeps pixel values apart, as float32 holds them, found "
                f"{text_of(self.normalization, reverse=False)}: {EXPECTED}"
            )
            raise UsageError(message)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From a form and what else is not usual, with commas between them. Raises UsageError for other text."""
        checked_text(text, "the text of an interface")
        first, *parts = (part.strip().lower() for part in text.split(","))
        values: dict[str, Any] = {"form": first}
        for part in parts:
            key, value = _part(part, reverse="bgr" in parts)
            if key in values or value is None:
                raise _unknown(text)
            values[key] = value
        if first == "float-nchw":
            values.setdefault("normalization", NORMALIZATIONS["-1..1"])
        elif first not in FORMS or "normalization" in values:
            raise _unknown(text)
        return cls(**values)

    def __str__(self) -> str:
        """As `parse` reads it, with all that is not a default."""
        parts: list[str] = [self.form]
        if self.color_order != "rgb" or self.is_float:
            parts.append(self.color_order)
        if self.normalization is not None:
            parts.append(RAW if self.is_raw else text_of(self.normalization, reverse=self.color_order == "bgr"))
        if self.batch is not None:
            parts.append(f"batch={self.batch}")
        return ",".join(parts)

    @property
    def is_usual(self) -> bool:
        """Whether it is that of an artifact that says nothing of it."""
        return self == USUAL

    @property
    def is_float(self) -> bool:
        return self.form == "float-nchw"

    @property
    def is_raw(self) -> bool:
        """Whether it takes pixels from 0 to 255 as floats."""
        return self.normalization == NORMALIZATIONS["0..255"]

    @property
    def dtype(self) -> str:
        """Of numpy: "uint8" or "float32"."""
        return "float32" if self.is_float else "uint8"

    @property
    def layout(self) -> str:
        """ "NHWC" or "NCHW"."""
        return self.form.rpartition("-")[2].upper()

    def image_shape(self, contract: InputContract) -> tuple[int, int, int]:
        """Of one image."""
        size = contract.height, contract.width
        return (*size, 3) if self.layout == "NHWC" else (3, *size)

    def describe(self, contract: InputContract) -> str:
        """Type, shape, color order and what is outside of it: "uint8 (N, 112, 112, 3) RGB"."""
        batch = "N" if self.batch is None else self.batch
        shape = ", ".join(map(str, (batch, *self.image_shape(contract))))
        values = "" if self.normalization is None else f", {'0 to 255' if self.is_raw else self._normalized()}"
        return f"{self.dtype} ({shape}) {self.color_order.upper()}{values}"

    def _normalized(self) -> str:
        assert self.normalization is not None
        mean, std = text_of(self.normalization, reverse=self.color_order == "bgr", named=False).split("/")
        return f"(pixel - {mean}) / {std}"

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """What the graph takes of RGB images, uint8 (N, H, W, 3)."""
        found: NDArray[Any] = images
        if self.normalization is not None:
            found = self.normalization(images)
        elif self.layout == "NCHW":
            found = images.transpose(0, 3, 1, 2)
        if self.color_order == "bgr":
            found = found[:, ::-1] if self.layout == "NCHW" else found[..., ::-1]
        return np.ascontiguousarray(found)

    def feed(
        self, images: NDArray[np.uint8], run: Callable[[NDArray[Any]], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """The rows that `run` gives for RGB `images`, uint8 (N, H, W, 3), each batch as the graph takes it.

        A fixed batch that they do not fill has some of them twice.
        """
        if self.batch is None:
            return run(self.prepare(images))
        parts = [images[start : start + self.batch] for start in range(0, len(images), self.batch)]
        return np.concatenate([run(self.one_batch(part))[: len(part)] for part in parts])

    def one_batch(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """What the graph takes at once: all RGB `images`, or as many of them as a fixed batch has, again and again."""
        return self.prepare(images if self.batch is None else images[np.arange(self.batch) % len(images)])

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        values: dict[str, Any] = {"form": self.form, "color_order": self.color_order, "batch": self.batch}
        if self.normalization is None:
            return values | {"normalization": None}
        return values | {"normalization": {key: list(v) for key, v in dataclasses.asdict(self.normalization).items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From plain values. Raises SchemaError for unknown or missing keys, and for values that do not fit."""
        if not isinstance(values, Mapping) or set(values) != {"form", "color_order", "normalization", "batch"}:
            message = f"expected the interface keys batch, color_order, form, normalization, found {values!r:.200}"
            raise SchemaError(message)
        try:
            return cls(**(dict(values) | {"normalization": _normalization(values["normalization"])}))
        except UsageError as error:
            raise SchemaError(str(error)) from error


def _part(part: str, *, reverse: bool) -> tuple[str, Any]:
    if part in COLOR_ORDERS:
        return "color_order", part
    if match := re.fullmatch(r"batch=([1-9]\d{0,5})", part, re.ASCII):
        return "batch", int(match[1])
    named = NORMALIZATIONS.get("0..255" if part == RAW else part)
    numbers = mean_and_std(part)
    if numbers is None:
        return "normalization", named
    mean, std = (values[::-1] if reverse else values for values in numbers)
    return "normalization", Normalization(mean=mean, std=std)


def _normalization(values: object) -> Normalization | None:
    if values is None:
        return None
    fits = isinstance(values, Mapping) and set(values) == {"mean", "std"}
    numbers = [values[key] for key in ("mean", "std")] if fits else []  # type: ignore[index]
    if not fits or not all(
        isinstance(group, list) and len(group) == 3 and all(type(number) in (int, float) for number in group)
        for group in numbers
    ):
        message = f"expected mean and std of three channels as the normalization of an interface, found {values!r:.200}"
        raise SchemaError(message)
    mean, std = (tuple(float(number) for number in group) for group in numbers)
    return Normalization(mean=mean, std=std)


def _is_exact(normalization: Normalization) -> bool:
    """Whether all 256 pixel values are found again, and with room, in float32."""
    if not all(0 < std < np.inf for std in normalization.std):
        return False
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    scale, shift = (np.asarray(values, np.float32) for values in (normalization.std, normalization.mean))
    with np.errstate(all="ignore"):
        found = normalization(pixels).transpose(0, 2, 3, 1) * scale + shift
    return bool((np.abs(found - pixels) < _MARGIN).all())


def _unknown(*found: object) -> UsageError:
    return UsageError(f"expected as an interface {EXPECTED}; found {', '.join(map(str, found))!r}")


USUAL = Interface()
"""The surface of an artifact that names none."""
