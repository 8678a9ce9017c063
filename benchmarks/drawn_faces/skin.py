"""Painting what an identity always shows below the hair: neck, ears, skin, nose, brows, blemishes."""

from __future__ import annotations

import cv2
import numpy as np

from efq.benchmarks.drawn_faces.canvas import SIZE, Canvas, ellipse, mix, shade, smooth
from efq.benchmarks.drawn_faces.geometry import AXIS, CENTER_X, EYE_Y, both, head_outline
from efq.benchmarks.drawn_faces.identity import Identity


def paint_neck_and_ears(canvas: Canvas, identity: Identity) -> None:
    """What lies behind the face."""
    half = identity.jaw * identity.face_width * 0.86
    neck = np.array([[-1.0, 84], [1.0, 84], [1.02, 112], [1.35, 140], [-1.35, 140], [-1.02, 112]]) * [half, 1.0]
    canvas.polygon(neck + AXIS, shade(identity.skin, 0.68))
    for side in (-1, 1):
        center = (CENTER_X + side * (identity.face_width + identity.ear_spread - 1.0), EYE_Y + 0.9 * identity.ear_size)
        size = (0.42 * identity.ear_size + 0.5 * identity.ear_spread, identity.ear_size)
        canvas.polygon(ellipse(center, size, 9.0 * side), shade(identity.skin, 0.94))
        inner = ellipse((center[0] + 0.4 * side, center[1] - 0.5), (0.55 * size[0], 0.68 * size[1]), 9.0 * side)
        canvas.blend(inner, shade(mix(identity.skin, (170, 70, 60), 0.25), 0.74), 0.8, 0.8)


def paint_skin(canvas: Canvas, identity: Identity, generator: np.random.Generator) -> None:
    """The face itself with its mottling, blush, lines, freckles and moles."""
    skin, width = identity.skin, identity.face_width
    canvas.polygon(head_outline(identity), skin)
    _mottle(canvas, generator)
    rosy = mix(skin, (205, 82, 78), 0.55)
    canvas.blend(both(ellipse((0.56 * width, 72.0), (8.5, 6.5))), rosy, 0.42 * identity.blush, 4.0)
    _paint_lines(canvas, identity)
    for _ in range(identity.freckles):
        place = (CENTER_X + generator.normal(0, 0.42 * width), 66.0 + generator.normal(0, 7.0))
        size = generator.uniform(0.45, 0.8)
        canvas.blend(ellipse(place, (size, size), points=8), shade(mix(skin, (150, 84, 46), 0.55), 0.85), 0.5, 0.3)
    for mole in identity.moles:
        canvas.blend(ellipse(mole, (0.9, 0.9), points=10), shade(mix(skin, (70, 40, 30), 0.8), 0.6), 0.9, 0.35)


def paint_nose(canvas: Canvas, identity: Identity) -> None:
    """Nostrils, wings and the shadow under the tip; the relief does the rest."""
    skin, y, width = identity.skin, identity.nose_y, identity.nose_width
    shadow = shade(mix(skin, (120, 50, 40), 0.3), 0.64)
    canvas.blend(ellipse((CENTER_X, y + 5.2), (0.95 * width, 1.5)), shadow, 0.5, 1.2)
    wing = np.array(
        [[0.86 * width, y - 2.6], [1.14 * width, y + 0.4], [1.04 * width, y + 3.3], [0.70 * width, y + 4.0]]
    )
    edge = smooth(wing, closed=False)
    canvas.blend(both(np.concatenate([edge, edge[::-1] - [0.55, 0.0]])), shadow, 0.7, 0.5)
    nostril = ellipse((0.46 * width, y + 4.0), (0.27 * width, 1.15), -14.0)
    canvas.blend(both(nostril), shade(mix(skin, (60, 20, 16), 0.5), 0.36), 0.85, 0.4)
    ridge = ellipse((0.55 * width, y - 10.0), (1.2, 9.0), -4.0)
    canvas.blend(both(ridge), shadow, 0.14 + 0.14 * identity.nose_bridge, 1.8)


def paint_brows(canvas: Canvas, identity: Identity) -> None:
    """Two tapered strokes of the darker hair color."""
    color = shade(mix(identity.hair_color, (60, 44, 36), 0.35), 0.85)
    reach, thick, arch, tilt = (
        1.28 * identity.eye_width,
        identity.brow_thickness,
        identity.brow_arch,
        identity.brow_tilt,
    )
    ridge = np.array([[-reach, 0.8 + tilt], [-0.3 * reach, -0.5 * arch + 0.4 * tilt],
                      [0.45 * reach, -arch - 0.5 * tilt], [1.12 * reach, 1.2 - tilt]])  # fmt: skip
    below = ridge + np.array([[0.3, thick], [0, thick], [0, 0.8 * thick], [0, 0.15 * thick]])
    edges = smooth(np.stack([ridge, below]), closed=False)
    center = np.array([identity.eye_spacing / 2 + 0.6, EYE_Y - identity.brow_height - thick / 2])
    canvas.blend(both(np.concatenate([edges[0], edges[1, ::-1]]) + center), color, 0.85, 0.45)


def _mottle(canvas: Canvas, generator: np.random.Generator) -> None:
    coarse = cv2.resize(
        generator.normal(0, 2.0, (24, 24)).astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC
    )
    fine = cv2.resize(generator.normal(0, 1.8, (120, 120)).astype(np.float32), (SIZE, SIZE))
    canvas.image[:] = np.clip(canvas.image + (coarse + fine)[..., None], 0, 255)


def _paint_lines(canvas: Canvas, identity: Identity) -> None:
    """Folds beside the mouth, under the eyes and on the forehead; all grow with age."""
    fold, age = shade(mix(identity.skin, (120, 56, 46), 0.25), 0.76), identity.age
    half, eye = 0.5 * identity.mouth_width, identity.eye_spacing / 2
    cheek = np.array(
        [
            [1.15 * identity.nose_width, identity.nose_y + 1],
            [half + 1.5, identity.mouth_y - 7],
            [half + 4.0, identity.mouth_y + 1],
        ]
    )
    line = smooth(cheek, closed=False)
    canvas.blend(both(np.concatenate([line, line[::-1] + np.array([1.0, 0])])), fold, 0.12 + 0.6 * age, 0.8)
    canvas.blend(both(ellipse((eye, EYE_Y + 5.8), (6.0, 1.5))), fold, 0.10 + 0.45 * age, 1.2)
    canvas.blend(both(ellipse((eye, EYE_Y - 2.0), (8.6, 5.4))), fold, 0.30, 2.0)
    for row in range(3):
        if age > 0.35 + 0.15 * row:
            center = identity.hairline_y + 7.0 + 5.0 * row
            canvas.blend(ellipse((CENTER_X, center), (17.0 - 2.0 * row, 0.5)), fold, 0.5 * age, 0.7)
