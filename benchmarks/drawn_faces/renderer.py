"""Drawing a face: an identity under a view gives a picture aligned to the ArcFace template."""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from efq.benchmarks.drawn_faces.canvas import MARGIN, SCALE, Canvas, shade
from efq.benchmarks.drawn_faces.expression import paint_eyes, paint_mouth
from efq.benchmarks.drawn_faces.hair import paint_back_hair, paint_beard, paint_front_hair, paint_glasses
from efq.benchmarks.drawn_faces.identity import Identity
from efq.benchmarks.drawn_faces.skin import paint_brows, paint_neck_and_ears, paint_nose, paint_skin
from efq.benchmarks.drawn_faces.surface import GRID, Camera, camera, grid_position, lighting, relief
from efq.benchmarks.drawn_faces.view import View

_SHOULDER = np.float32(0.4)  # bright skin keeps its detail: tones over 170 rise this much less


def draw_face(identity: Identity, view: View) -> np.ndarray:
    """The picture, uint8 (112, 112, 3) RGB. The same arguments give the same bytes."""
    head = _paint_head(identity)
    canvas = head.canvas.copy()
    paint_eyes(canvas, identity, view)
    paint_mouth(canvas, identity, view)
    paint_glasses(canvas, identity)
    seen = camera(identity, head.height, view)
    columns, rows = (seen.x + np.float32(MARGIN)) * np.float32(SCALE), (seen.y + np.float32(MARGIN)) * np.float32(SCALE)
    color = cv2.remap(canvas.image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.remap(canvas.mask, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    light = cv2.remap(
        lighting(head.height, view),
        grid_position(seen.x),
        grid_position(seen.y),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    generator = np.random.default_rng(view.seed)
    picture = color * light[..., :1] + 26.0 * view.contrast * light[..., 1:]
    picture = _over_background(picture, mask, view, generator)
    return _photograph(picture, view, generator)


def landmarks(identity: Identity, view: View) -> np.ndarray:
    """The five landmarks in the picture, float64 (5, 2): eyes, nose tip and mouth corners, x then y in pixels."""
    return _camera(identity, view).landmarks


@dataclasses.dataclass(frozen=True, slots=True)
class _Head:
    canvas: Canvas
    height: np.ndarray


@functools.lru_cache(maxsize=32)
def _paint_head(identity: Identity) -> _Head:
    """What is the same in every picture of an identity."""
    generator = np.random.default_rng(identity.seed)
    canvas = Canvas(shade(identity.skin, 0.5))
    paint_back_hair(canvas, identity)
    paint_neck_and_ears(canvas, identity)
    paint_skin(canvas, identity, generator)
    paint_nose(canvas, identity)
    paint_brows(canvas, identity)
    paint_beard(canvas, identity, generator)
    hair = paint_front_hair(canvas, identity, generator)
    small = cv2.resize(hair, (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return _Head(canvas, relief(identity, small))


def _camera(identity: Identity, view: View) -> Camera:
    return camera(identity, _paint_head(identity).height, view)


def _over_background(picture: np.ndarray, mask: np.ndarray, view: View, generator: np.random.Generator) -> np.ndarray:
    """Blurred patches of color around the background's own."""
    patches = np.asarray(view.background) + generator.normal(0, 24, (4, 4, 1)) + generator.normal(0, 9, (4, 4, 3))
    backdrop = cv2.resize(patches.astype(np.float32), (112, 112), interpolation=cv2.INTER_CUBIC)
    weight = mask[..., None] * np.float32(1 / 255)
    return np.asarray(backdrop + weight * (picture - backdrop))


@functools.cache
def _noise() -> np.ndarray:
    """A sheet of unit noise to cut from: drawing it anew for every picture would take a tenth of the time."""
    return np.random.default_rng(0).standard_normal((256, 256, 3), np.float32)


def _photograph(picture: np.ndarray, view: View, generator: np.random.Generator) -> np.ndarray:
    """Exposure, tint, blur, sensor noise and compression."""
    picture = picture * (np.float32(view.exposure) * np.asarray(view.tint, np.float32))
    picture = picture - _SHOULDER * np.maximum(picture - 170.0, 0.0)
    if view.blur > 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), view.blur)
    if view.noise > 0:
        top, left = generator.integers(0, 144, 2)
        picture = picture + np.float32(view.noise) * _noise()[top : top + 112, left : left + 112]
    image = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    if view.jpeg_quality:
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, view.jpeg_quality])
        image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return image
