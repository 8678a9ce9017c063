"""Painting hair, beard and glasses."""

from __future__ import annotations

import cv2
import numpy as np

from efq.benchmarks.drawn_faces.canvas import SCALE, Canvas, ellipse, mix, shade, smooth, to_canvas
from efq.benchmarks.drawn_faces.geometry import AXIS, CENTER_X, EYE_Y, head_outline
from efq.benchmarks.drawn_faces.identity import Color, Identity

LONG = {"long": 142.0, "bob": 104.0}
PARTED = ("parted", "long")


def paint_back_hair(canvas: Canvas, identity: Identity) -> None:
    """Long hair hanging behind the face."""
    if identity.hair_style not in LONG:
        return
    bottom, side = LONG[identity.hair_style], identity.face_width + identity.hair_volume + 2.0
    half = np.array(
        [
            [0, -18],
            [0.75 * side, -8],
            [1.02 * side, 22],
            [1.10 * side, 62],
            [1.12 * side, bottom - 8],
            [0.9 * side, bottom],
        ]
    )
    outline = np.concatenate([half, half[::-1] * [-1, 1]]) + AXIS
    canvas.polygon(smooth(outline, closed=True), shade(identity.hair_color, 0.62))


def paint_front_hair(canvas: Canvas, identity: Identity, generator: np.random.Generator) -> np.ndarray:
    """Hair over skull and forehead. Returns its mask on the canvas, uint8."""
    mask = np.zeros(canvas.mask.shape, np.uint8)
    if identity.hair_style == "bald":
        return mask
    outline = np.concatenate([_crown(identity), _hairline(identity, generator)])
    points = [np.round(to_canvas(outline) * 16).astype(np.int32)]
    cv2.fillPoly(mask, points, 255.0, cv2.LINE_AA, 4)
    if identity.hair_style == "curly":
        _add_curls(mask, identity, generator)
    soft = cv2.GaussianBlur(mask, (0, 0), 2.2 if identity.hair_style == "buzz" else 0.9)
    opacity = 0.8 if identity.hair_style == "buzz" else 1.0
    before = canvas.image.copy()
    canvas.image[:] = np.clip(identity.hair_color, 0, 255)
    _add_strands(canvas, identity, generator)
    weight = soft[..., None] * np.float32(opacity / 255)
    canvas.image[:] = before + weight * (canvas.image.astype(np.float32) - before)
    np.maximum(canvas.mask, soft, out=canvas.mask)
    return soft


def paint_beard(canvas: Canvas, identity: Identity, generator: np.random.Generator) -> None:
    """Stubble, moustache, goatee or full beard around where the mouth will be."""
    if identity.beard == "none":
        return
    color, x, mouth = shade(mix(identity.hair_color, (70, 50, 40), 0.2), 0.9), CENTER_X, identity.mouth_y
    half = 0.5 * identity.mouth_width
    if identity.beard in ("stubble", "full"):
        opacity, softness = (0.28, 2.6) if identity.beard == "stubble" else (0.93, 1.3)
        _blend_hairy(canvas, identity, _jaw_region(identity), color, opacity, softness, generator)
    if identity.beard in ("moustache", "goatee", "full"):
        lip = np.array(
            [[0, -7.5], [0.7 * half, -6.6], [1.12 * half, -1.0], [1.1 * half, 1.5], [0.75 * half, -2.2], [0, -3.6]]
        )
        whole = np.concatenate([lip, lip[::-1] * [-1, 1]]) + np.array([x, mouth])
        _blend_hairy(canvas, identity, whole, color, 0.9, 0.7, generator)
    if identity.beard == "goatee":
        below = ellipse((x, identity.chin_y - 6.0), (0.9 * identity.chin_width, 8.0))
        _blend_hairy(canvas, identity, below, color, 0.88, 1.2, generator)


def paint_glasses(canvas: Canvas, identity: Identity) -> None:
    """A frame around each eye, a bridge and the temples."""
    if not identity.glasses:
        return
    power = 2.0 + 3.0 * (1.0 - identity.glasses_round)
    turn = np.linspace(0, 2 * np.pi, 41)
    bend = 2.0 / power
    shape = np.stack(
        [np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** bend, np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** bend],
        axis=1,
    )
    radii = (11.6, 9.2 + 1.6 * identity.glasses_round)
    for side in (-1, 1):
        center = np.array([CENTER_X + side * (identity.eye_spacing / 2 + 0.6), EYE_Y + 1.4])
        rim = center + shape * radii
        canvas.blend(rim, (225, 232, 238), 0.10)
        canvas.line(rim, identity.glasses_color, 1.3)
        canvas.line(
            np.array([[center[0] + side * radii[0], EYE_Y - 1], [CENTER_X + side * identity.face_width, EYE_Y - 2]]),
            identity.glasses_color,
            1.2,
        )
    inner = identity.eye_spacing / 2 + 0.6 - radii[0]
    bridge = np.array([[-inner, EYE_Y], [0, EYE_Y - 1.6], [inner, EYE_Y]]) + AXIS
    canvas.line(smooth(bridge, closed=False), identity.glasses_color, 1.2)


def _crown(identity: Identity) -> np.ndarray:
    """The outer edge of the hair, from the left sideburn over the top to the right one."""
    volume = {"buzz": 0.6, "receding": 1.2, "curly": 7.0}.get(identity.hair_style, identity.hair_volume)
    width, ear = identity.face_width, EYE_Y + 0.5
    low = {"long": 118.0, "bob": 98.0}.get(identity.hair_style, ear + 4.0)
    side = width + 0.45 * volume + (3.0 if identity.hair_style in LONG else 0.4)
    half = np.array([[side, low], [side + 0.5, ear - 8], [side - 0.5, 26], [0.90 * width + 0.8 * volume, 6],
                     [0.62 * width + 0.6 * volume, -8 - 0.8 * volume], [0, -12.5 - volume]])  # fmt: skip
    whole = np.concatenate([half * [-1, 1], half[-2::-1]]) + AXIS
    return smooth(whole, closed=False)


def _hairline(identity: Identity, generator: np.random.Generator) -> np.ndarray:
    """The inner edge, from right to left."""
    width, line, ear = identity.face_width, identity.hairline_y, EYE_Y + 2.0
    temple = 0.80 * width
    style = identity.hair_style
    if style in ("fringe", "bob"):
        low = EYE_Y - identity.brow_height - 2.5
        steps = np.linspace(temple, -temple, 15)
        jagged = low + generator.uniform(-2.2, 1.2, 15) + 2.5 * (np.abs(steps) / temple) ** 2
        middle = np.column_stack([steps, jagged])
    elif style == "receding":
        middle = np.array([[temple, 24], [0.66 * width, line - 6], [0.34 * width, line - 9], [0, line - 1.5],
                           [-0.34 * width, line - 9], [-0.66 * width, line - 6], [-temple, 24]])  # fmt: skip
    elif style in PARTED:
        part = identity.parting * width
        middle = np.array([[temple, line + 15], [0.5 * (temple + part), line + 2], [part + 4, line - 4],
                           [part - 4, line - 4], [0.5 * (part - temple), line + 2], [-temple, line + 15]])  # fmt: skip
    else:
        middle = np.array([[temple, line + 12], [0.62 * width, line + 3], [0.3 * width, line], [0, line + 0.8],
                           [-0.3 * width, line], [-0.62 * width, line + 3], [-temple, line + 12]])  # fmt: skip
    low_end = {"long": 118.0, "bob": 98.0}.get(style, ear + 3.5)
    edge = 0.97 * width if style in LONG else 0.93 * width
    right = np.array([[edge, low_end], [edge, ear - 4], [0.90 * width, line + 22]])
    return smooth(np.concatenate([right, middle, right[::-1] * [-1, 1]]) + AXIS, closed=False)


def _add_curls(mask: np.ndarray, identity: Identity, generator: np.random.Generator) -> None:
    for angle in np.linspace(np.pi * 0.98, np.pi * 2.02, 26):
        place = np.array([CENTER_X + (identity.face_width + 4.5) * np.cos(angle), 34.0 + 49.0 * np.sin(angle)])
        place += generator.normal(0, 1.2, 2)
        x, y = to_canvas(place)
        cv2.circle(
            mask, (round(float(x)), round(float(y))), round(generator.uniform(4.5, 7.5) * SCALE), 255.0, -1, cv2.LINE_AA
        )


def _add_strands(canvas: Canvas, identity: Identity, generator: np.random.Generator) -> None:
    """Lines that fan out from the parting, or curls, lighter and darker than the hair."""
    curly = identity.hair_style == "curly"
    count = 260 if curly else 130
    if curly:
        place = np.stack([generator.uniform(2, 110, count), generator.uniform(-22, 62, count)], axis=1)
        turn = generator.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, 4.0, 6)
        radius = generator.uniform(1.0, 2.6, (count, 1))
        lines = place[:, None] + np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=-1)
    else:
        start = identity.parting * identity.face_width if identity.hair_style in PARTED else 0.0
        end = generator.uniform(-1.25, 1.25, count) * identity.face_width
        root = np.stack([start + 0.25 * end, generator.uniform(-20, -8, count)], axis=1)
        bend = np.stack([0.5 * start + 0.85 * end, generator.uniform(0, 28, count)], axis=1)
        tip = np.stack([1.02 * end, generator.uniform(30, 126, count)], axis=1)
        lines = smooth(np.stack([root, bend, tip], axis=1) + AXIS, closed=False)
    tones = generator.uniform(0.72, 1.26, count)
    for line, tone in zip(lines, tones, strict=True):
        canvas.line(line, shade(identity.hair_color, float(tone)), 0.7)


def _jaw_region(identity: Identity) -> np.ndarray:
    """From the ears down the jaw, its upper edge under the cheeks and below the lip."""
    outline = head_outline(identity) - [CENTER_X, 0]
    lower = outline[(outline[:, 1] > EYE_Y + 14) & (outline[:, 0] >= 0)]
    jaw = lower[np.argsort(lower[:, 1])] * [0.985, 1.0]
    width, half = identity.face_width, 0.5 * identity.mouth_width
    upper = np.array(
        [[0.82 * width, 76], [0.62 * width, 86], [half + 3, identity.mouth_y - 3], [0.5 * half, identity.mouth_y + 7.5]]
    )
    right = np.concatenate([upper[::-1], jaw])
    return np.asarray(np.concatenate([right, right[::-1] * [-1, 1]]) + AXIS)


def _blend_hairy(
    canvas: Canvas,
    identity: Identity,
    region: np.ndarray,
    color: Color,
    opacity: float,
    softness: float,
    generator: np.random.Generator,
) -> None:
    """Blend a region and draw short hairs in it, downwards and away from the middle."""
    ground = mix(identity.skin, color, opacity)
    canvas.blend(region, color, opacity, softness)
    low, high = region.min(axis=0), region.max(axis=0)
    places = generator.uniform(low, high, (int(0.3 * np.prod(high - low)), 2))
    inside = np.zeros(canvas.mask.shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(to_canvas(region)).astype(np.int32)], 1.0)
    rows = to_canvas(places).astype(int)
    places = places[inside[rows[:, 1], rows[:, 0]] > 0]
    tips = places + np.stack([0.05 * (places[:, 0] - CENTER_X), generator.uniform(0.8, 2.0, len(places))], axis=1)
    tones = generator.uniform(0.75, 1.2, len(places))
    for line, tone in zip(np.stack([places, tips], axis=1), tones, strict=True):
        canvas.line(line, mix(ground, shade(color, float(tone)), 0.25 + 0.7 * opacity), 0.5)
