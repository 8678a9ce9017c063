"""The landmark templates that an input contract may name: where five landmarks of a face lie in a crop of some size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from efq.runtime.arguments import instance_of
from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import UsageError
from efq.runtime.faces.template import ARCFACE_TEMPLATE

ARCFACE = "arcface-112"
"""The template of InsightFace and of what EFQ's `align` cuts unless it is told otherwise."""

NARROW = "arcface-112x96"
SCALED = "arcface-scaled"
CUSTOM = "custom"
"""Crops by a convention without five landmarks: FaceNet's box with a margin, dlib's chips, a team's own."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """The ArcFace template moved right by `shift` pixels in a crop of `height` x `width`, and that enlarged evenly.

    whole: whether it is used in whole multiples of that size only, as by those who named it.
    """

    height: int
    width: int
    shift: float
    whole: bool = True

    def fits(self, height: int, width: int) -> bool:
        """Whether a crop of that size is an enlarged one of its own."""
        same_shape = height * self.width == width * self.height
        return same_shape and not (self.whole and height % self.height)

    def points(self, height: int) -> NDArray[np.float64]:
        """Where the landmarks lie in a crop of that height: float64 (5, 2), x and y in pixels."""
        points = ARCFACE_TEMPLATE.astype(np.float64)
        points[:, 0] += self.shift
        return points * (height / self.height)


TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        ARCFACE: Template(height=112, width=112, shift=0.0),
        NARROW: Template(height=112, width=96, shift=-8.0),
        "arcface-128": Template(height=128, width=128, shift=8.0),
        SCALED: Template(height=112, width=112, shift=0.0, whole=False),
    }
)
"""By name; the size is height x width.

arcface-112, and arcface-128 with the face 8 pixels to the right: `norm_crop` of InsightFace's face_align.py, which
takes multiples of 112 and of 128. arcface-112x96: SphereFace's crops, 8 columns fewer at the left and at the right of
arcface-112. arcface-scaled: that of 112x112 in any square.
"""


def usual_alignment(height: int, width: int) -> str:
    """The template that crops of that size usually have, `CUSTOM` where there is no such one."""
    return next((name for name, one in TEMPLATES.items() if one.whole and one.fits(height, width)), CUSTOM)


def alignment_of(name: str, height: int, width: int) -> str:
    """`name`, or the usual template where it is one that crops of that size do not have."""
    return name if name not in TEMPLATES or TEMPLATES[name].fits(height, width) else usual_alignment(height, width)


def contract_points(contract: InputContract) -> NDArray[np.float64]:
    """Where the five landmarks lie in the crops of a contract: float64 (5, 2), x and y in pixels.

    Raises UsageError for a template that is not known, or that crops of its size do not have, and for what is no
    contract.
    """
    instance_of(contract, InputContract, "the contract of an artifact, as Embedder.contract is")
    name, height, width = contract.alignment, contract.height, contract.width
    if name in TEMPLATES and TEMPLATES[name].fits(height, width):
        return TEMPLATES[name].points(height)
    message = (
        f"expected an artifact whose faces are aligned by five landmarks ({', '.join(TEMPLATES)}), found one for faces "
        f"of {height}x{width} (height x width) aligned as {name!r}: crop them as its teacher's were, and embed the "
        "crops"
    )
    raise UsageError(message)
