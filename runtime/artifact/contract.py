"""The input contract: what a network expects of an image, carried by teachers, students and artifacts alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from efq.runtime.errors import SchemaError

LARGEST_SIDE = 4096


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class InputContract:
    """What is fed to a network: aligned face crops, uint8, height x width x 3 (NHWC in a batch).

    `alignment` names the landmark template (`efq.runtime.faces.templates`), "custom" for crops by another convention;
    `color_order` is always "RGB".
    """

    height: int = 112
    width: int = 112
    color_order: str = "RGB"
    dtype: str = "uint8"
    layout: str = "NHWC"
    alignment: str = "arcface-112"

    def __post_init__(self) -> None:
        for side in (self.height, self.width):
            if type(side) is not int or not 0 < side <= LARGEST_SIDE:
                message = f"expected an image size of 1 to {LARGEST_SIDE} pixels, found {self.height!r}x{self.width!r}"
                raise SchemaError(message)
        for field, expected in (("color_order", "RGB"), ("dtype", "uint8"), ("layout", "NHWC")):
            found = getattr(self, field)
            if not isinstance(found, str) or found != expected:
                message = f"expected {field} {expected!r} in the input contract, found {found!r}"
                raise SchemaError(message)
        if not isinstance(self.alignment, str):
            message = f"expected the name of a landmark template as alignment, found {self.alignment!r}"
            raise SchemaError(message)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From plain values. Raises SchemaError for unknown or missing keys."""
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            found = sorted(map(str, values)) if isinstance(values, Mapping) else repr(values)[:100]
            message = f"expected the input contract keys {sorted(names)}, found {found}"
            raise SchemaError(message)
        return cls(**values)
