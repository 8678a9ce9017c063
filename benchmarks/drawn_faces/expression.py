"""Painting what moves: eyes and mouth."""

from __future__ import annotations

import numpy as np

from efq.benchmarks.drawn_faces.canvas import Canvas, ellipse, mix, shade, smooth
from efq.benchmarks.drawn_faces.geometry import CENTER_X, EYE_Y, both
from efq.benchmarks.drawn_faces.identity import Identity
from efq.benchmarks.drawn_faces.view import View


def paint_eyes(canvas: Canvas, identity: Identity, view: View) -> None:
    """Both eyes with lids, iris and lashes."""
    width, height, tilt = identity.eye_width, identity.eye_height * view.eyes_open, identity.eye_tilt
    upper = np.array([[-width, 0.9 + 0.5 * tilt], [-0.5 * width, -0.75 * height + 0.2 * tilt], [0.1 * width, -height],
                      [0.62 * width, -0.66 * height - 0.3 * tilt], [width, -tilt]])  # fmt: skip
    lower = np.array([upper[-1], [0.65 * width, 0.5 * height - 0.4 * tilt], [0.15 * width, 0.85 * height],
                      [-0.45 * width, 0.62 * height + 0.3 * tilt], upper[0]])  # fmt: skip
    lid, rim = smooth(upper, closed=False), smooth(lower, closed=False)
    center = np.array([identity.eye_spacing / 2, EYE_Y])
    canvas.blend(both(np.concatenate([lid, rim[1:-1]]) + center), (232, 226, 220), 1.0, 0.25)
    _paint_irises(canvas, identity, view, lid, rim)
    lash = shade(mix(identity.hair_color, (20, 14, 12), 0.75), 0.8)
    pink = shade(mix(identity.skin, (130, 60, 50), 0.4), 0.75)
    canvas.blend(both(_stroke(lid, 0.0, 1.2) + center), (60, 40, 36), 0.35, 0.5)
    canvas.blend(both(_stroke(lid, -0.8, 0.35) + center), lash, 0.92, 0.3)
    canvas.blend(both(_stroke(rim, 0.0, 0.6) + center), pink, 0.6, 0.35)
    crease = _stroke(lid - [0, 1.9 + 0.4 * height], 0.0, 0.7)
    canvas.blend(both(crease + center), shade(identity.skin, 0.62), 0.65 * identity.eyelid_crease, 0.45)


def paint_mouth(canvas: Canvas, identity: Identity, view: View) -> None:
    """Lips, and between them the line of a closed mouth or the teeth and dark of an open one."""
    half = 0.5 * identity.mouth_width * (1.0 + 0.06 * view.smile)
    gap, lift = 3.2 * view.mouth_open, 0.5 + 2.2 * view.smile
    place = np.array([CENTER_X, identity.mouth_y])
    corner = np.array([half, -0.6 * lift])
    scale, middle = np.array([half, 1.0]), np.array([0.0, 0.35 * lift])
    top = np.array([[0.0, -0.85], [0.22, -1.12], [0.6, -0.72]]) * [half, identity.upper_lip] - [0, 0.35 * gap]
    under_top = np.array([[0.0, 0.3], [0.3, 0.0], [0.65, -0.1]]) * scale - [0, 0.35 * gap] + middle
    over_bottom = np.array([[0.0, 0.5], [0.35, 0.4], [0.7, 0.0]]) * scale + [0, 0.75 * gap] + middle
    bottom = np.array([[0.0, 1.0], [0.35, 0.92], [0.72, 0.45]]) * [half, identity.lower_lip] + [0, 0.85 * gap] + middle
    lip = mix(shade(mix(identity.skin, (150, 70, 66), 0.45), 0.93), (184, 56, 66), 0.42 * identity.lip_color)
    if gap > 0.4:
        canvas.blend(_lens(under_top, over_bottom, corner) + place, (46, 16, 18), 1.0, 0.2)
        teeth = _lens(under_top, under_top + np.array([0, min(0.75 * gap, 3.0)]), corner * 0.9)
        canvas.blend(teeth + place, (230, 224, 212), 0.92, 0.4)
    canvas.blend(_lens(top, under_top, corner) + place, shade(lip, 0.86), 0.9, 0.4)
    canvas.blend(_lens(over_bottom, bottom, corner) + place, lip, 0.9, 0.5)
    gloss = (CENTER_X, identity.mouth_y + 0.55 * identity.lower_lip + 0.8 * gap + 0.35 * lift)
    canvas.blend(ellipse(gloss, (0.3 * half, 0.6)), (255, 236, 230), 0.25, 0.8)
    seam = smooth(_row(under_top if gap > 0.4 else 0.5 * (under_top + over_bottom), corner), closed=False)
    canvas.blend(_stroke(seam, 0.0, 0.75) + place, shade(mix(lip, (70, 20, 20), 0.6), 0.55), 0.85, 0.35)
    below = (CENTER_X, identity.mouth_y + identity.lower_lip + gap + 2.6)
    canvas.blend(ellipse(below, (0.5 * half, 1.2)), shade(mix(identity.skin, (110, 50, 40), 0.3), 0.7), 0.4, 1.2)


def _paint_irises(canvas: Canvas, identity: Identity, view: View, lid: np.ndarray, rim: np.ndarray) -> None:
    """Discs cut off by the lids; both eyes look the same way, so their places are not mirrored."""
    radius, look, half = 0.54 * identity.eye_width, 1.6 * view.gaze, identity.eye_spacing / 2
    discs = (
        (0.0, radius, shade(identity.eye_color, 0.62), 1.0),
        (0.0, 0.82 * radius, identity.eye_color, 1.0),
        (0.0, 0.42 * radius, (14, 12, 12), 1.0),
        (0.9, 0.6, (250, 250, 250), 0.9),
    )
    for shift, size, color, opacity in discs:
        eyes = []
        for side in (-1, 1):
            disc = ellipse((side * (look + shift), -0.35 - shift), (size, size), points=16)
            eyes.append(_between_lids(disc, lid, rim) * [side, 1] + [CENTER_X + side * half, EYE_Y])
        canvas.blend(np.stack(eyes), color, opacity, 0.15)


def _between_lids(disc: np.ndarray, lid: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """The disc with every point pulled between the lids' heights at its own x."""
    top = np.interp(disc[:, 0], lid[:, 0], lid[:, 1])
    bottom = np.interp(disc[:, 0], rim[::-1, 0], rim[::-1, 1])
    return np.column_stack([disc[:, 0], np.clip(disc[:, 1], top, np.maximum(top, bottom))])


def _stroke(line: np.ndarray, above: float, below: float) -> np.ndarray:
    """A thin band along a line, as a polygon."""
    return np.concatenate([line + np.array([0, above]), line[::-1] + np.array([0, below])])


def _row(right: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """From the left corner to the right one through points given for the right half, the first on the axis."""
    return np.concatenate([corner[None] * [-1, 1], right[:0:-1] * [-1, 1], right, corner[None]])


def _lens(upper: np.ndarray, lower: np.ndarray, corner: np.ndarray) -> np.ndarray:
    rows = smooth(np.stack([_row(upper, corner), _row(lower, corner)]), closed=False)
    return np.concatenate([rows[0], rows[1, ::-1]])
