"""The image that is every artifact's probe: a face nobody has, drawn so that faults of all kinds change its embedding.

A face, as other images say little to a face network; turned and lit from one side with one eye covered, as networks
trained with mirrored faces hardly tell a face from its mirror image; and in colors that no skin has, from 0 to 255 in
each channel, as they hardly tell red from blue in a gray one. What each fault gives:
docs/decisions/0055-a-probe-in-every-artifact.md.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]

_SIDE = 112.0  # of the picture that the numbers below are of
_TURN = 0.2  # radians, clockwise
_CENTER = np.array((56.0, 60.0))


@dataclasses.dataclass(frozen=True, slots=True)
class _Ellipse:
    """Center and half axes in pixels, color, turn in radians."""

    x: float
    y: float
    across: float
    down: float
    color: Color
    turn: float = 0.0


_HEAD = _Ellipse(56, 60, 38, 52, (0, 0, 0))
_SHADE: Color = (60, 70, 190)
_LIGHT: Color = (250, 190, 60)
_PARTS = (
    _Ellipse(44, 10, 46, 22, (60, 20, 10), 0.35),  # hair
    _Ellipse(38.3, 51.7, 7, 4, (250, 250, 255)),  # an eye
    _Ellipse(39.5, 51.7, 3, 3.4, (10, 40, 160)),
    _Ellipse(73.5, 51.5, 12, 9, (5, 5, 5), 0.2),  # a patch on the other
    _Ellipse(37, 42, 9, 2.2, (30, 20, 60), -0.3),  # a brow
    _Ellipse(56, 71.7, 5, 4, (190, 60, 90)),  # the nose
    _Ellipse(52, 60, 2, 14, (240, 230, 90)),
    _Ellipse(56, 92.3, 15, 4.5, (220, 10, 60), 0.15),  # the mouth
    _Ellipse(62, 92, 9, 1.2, (60, 0, 20), 0.15),
    _Ellipse(84, 78, 7, 7, (0, 255, 60)),  # paint on a cheek
)


def probe_face(height: int, width: int) -> NDArray[np.uint8]:
    """uint8 (height, width, 3), RGB; the face keeps its shape and its place in the larger square's middle."""
    rows, columns = np.mgrid[0:height, 0:width]
    y, x = (
        (places + 0.5 - side / 2) * (_SIDE / max(height, width)) + _SIDE / 2
        for places, side in ((rows, height), (columns, width))
    )
    image = np.stack([255 * x / _SIDE, 255 * (1 - y / _SIDE), 128 + 127 * np.sin(x / 9 + y / 17)], axis=-1)
    cosine, sine = np.cos(_TURN), np.sin(_TURN)
    x, y = x - _CENTER[0], y - _CENTER[1]
    x, y = cosine * x + sine * y + _CENTER[0], cosine * y - sine * x + _CENTER[1]
    lit = _step((x - 60) / 6)
    skin = lit * np.array(_LIGHT) + (1 - lit) * np.array(_SHADE)
    image = _over(image, skin, _inside(_HEAD, x, y, sharpness=8))
    for part in _PARTS:
        image = _over(image, np.array(part.color), _inside(part, x, y, sharpness=6))
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _inside(part: _Ellipse, x: NDArray[np.float64], y: NDArray[np.float64], *, sharpness: float) -> NDArray[np.float64]:
    """(H, W, 1): 1 within the ellipse, 0 outside, a soft edge between."""
    cosine, sine = np.cos(part.turn), np.sin(part.turn)
    x, y = x - part.x, y - part.y
    across, down = (cosine * x + sine * y) / part.across, (cosine * y - sine * x) / part.down
    return _step((1 - across**2 - down**2) * sharpness)


def _step(values: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = (1 / (1 + np.exp(np.clip(-values, -50, 50))))[..., np.newaxis]
    return result


def _over(below: NDArray[np.float64], above: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    return below * (1 - share) + above * share
