"""A drawing surface measured in pixels of the aligned crop, somewhat larger and finer than the crop."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from efq.benchmarks.drawn_faces.identity import Color

MARGIN = 24.0  # crop pixels around the 112x112 crop, seen when the head turns
SCALE = 1.5  # canvas pixels to a crop pixel
SIZE = int((112 + 2 * MARGIN) * SCALE)
_FRACTION_BITS = 4


def to_canvas(points: np.ndarray) -> np.ndarray:
    """Crop coordinates, any shape ending in 2, to canvas coordinates (pixel centers at integers)."""
    return (np.asarray(points, np.float64) + MARGIN) * SCALE


class Canvas:
    """An RGB picture and the mask of what has been drawn on it, both (SIZE, SIZE) and uint8."""

    def __init__(self, color: Color) -> None:
        self.image = np.empty((SIZE, SIZE, 3), np.uint8)
        self.image[:] = np.clip(color, 0, 255)
        self.mask = np.zeros((SIZE, SIZE), np.uint8)

    def copy(self) -> Canvas:
        """A canvas that can be drawn on without changing this one."""
        other = Canvas.__new__(Canvas)
        other.image, other.mask = self.image.copy(), self.mask.copy()
        return other

    def polygon(self, points: np.ndarray, color: Color) -> None:
        """Fill a polygon, points (n, 2), and count it as drawn."""
        fixed = _fixed(points)
        cv2.fillPoly(self.image, [fixed], color, cv2.LINE_AA, _FRACTION_BITS)
        cv2.fillPoly(self.mask, [fixed], 255.0, cv2.LINE_AA, _FRACTION_BITS)

    def line(self, points: np.ndarray, color: Color, width: float) -> None:
        """Draw an open polyline, points (n, 2), `width` crop pixels wide."""
        thickness = max(1, round(width * SCALE))
        cv2.polylines(self.image, [_fixed(points)], False, color, thickness, cv2.LINE_AA, _FRACTION_BITS)

    def blend(self, points: np.ndarray, color: Color, opacity: float, softness: float = 0.0) -> None:
        """Blend one polygon (n, 2), or several (k, n, 2), over the picture; the mask of what is drawn is unchanged.

        The edge fades over about `softness` crop pixels.
        """
        fixed = _fixed(points)
        pad = int(2.5 * softness * SCALE) + 2
        flat = fixed.reshape(-1, 2)
        left, top = (max(0, int(value) - pad) for value in flat.min(axis=0) >> _FRACTION_BITS)
        right, bottom = (min(SIZE, int(value) + pad + 1) for value in flat.max(axis=0) >> _FRACTION_BITS)
        if left >= right or top >= bottom:
            return
        mask = np.zeros((bottom - top, right - left), np.uint8)
        moved = fixed - np.array([left << _FRACTION_BITS, top << _FRACTION_BITS], np.int32)
        cv2.fillPoly(mask, [moved] if moved.ndim == 2 else list(moved), 255.0, cv2.LINE_AA, _FRACTION_BITS)
        if softness > 0:
            mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), softness * SCALE), np.uint8)
        part = self.image[top:bottom, left:right]
        weight = mask[..., None] * np.float32(opacity / 255.0)
        part[:] = part + weight * (np.asarray(color, np.float32) - part) + np.float32(0.5)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint((points + MARGIN) * (SCALE * 2**_FRACTION_BITS)), np.int32)


@functools.cache
def _circle(points: int) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


def ellipse(
    center: tuple[float, float], radii: tuple[float, float], angle: float = 0.0, points: int = 24
) -> np.ndarray:
    """The points (n, 2) of an ellipse turned by `angle` degrees."""
    flat = _circle(points) * radii
    if angle:
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        flat = flat @ np.array([[cosine, sine], [-sine, cosine]])
    return np.asarray(flat + center)


@functools.cache
def _catmull_rom(steps: int) -> np.ndarray:
    part = np.linspace(0, 1, steps, endpoint=False)
    powers = np.stack([np.ones(steps), part, part**2, part**3], axis=1)
    basis = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
    return np.asarray(0.5 * powers @ basis)


def smooth(points: np.ndarray, closed: bool, steps: int = 5) -> np.ndarray:
    """A Catmull-Rom curve through `points` (..., n, 2): (..., n * steps, 2), or (n - 1) * steps + 1 if open."""
    before, after = (points[..., -1:, :], points[..., :2, :]) if closed else (points[..., :1, :], points[..., -1:, :])
    around = np.concatenate([before, points, after], axis=-2)
    count = around.shape[-2] - 3
    windows = np.stack([around[..., i : i + count, :] for i in range(4)], axis=-2)
    curve = (_catmull_rom(steps) @ windows).reshape(*points.shape[:-2], count * steps, 2)
    return curve if closed else np.concatenate([curve, points[..., -1:, :]], axis=-2)


def shade(color: Color, factor: float) -> Color:
    """A darker (factor under 1) or lighter color."""
    red, green, blue = (min(255.0, max(0.0, channel * factor)) for channel in color)
    return (red, green, blue)


def mix(first: Color, second: Color, part: float) -> Color:
    """`part` of the second color in the first."""
    red, green, blue = (a + part * (b - a) for a, b in zip(first, second, strict=True))
    return (red, green, blue)
