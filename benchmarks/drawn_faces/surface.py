"""The relief of a face: a height over every point of the canvas, its pose and its light."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from efq.benchmarks.drawn_faces.canvas import MARGIN
from efq.benchmarks.drawn_faces.geometry import CENTER_X, EYE_Y, neutral_landmarks
from efq.benchmarks.drawn_faces.identity import Identity
from efq.benchmarks.drawn_faces.view import View
from efq.runtime.faces.template import ARCFACE_TEMPLATE, similarity_transform

GRID = 80  # the relief is smooth: one sample for two crop pixels is enough
STEP = (112 + 2 * MARGIN) / GRID
CENTER_Y = 58.0
_AXIS = (np.arange(GRID, dtype=np.float32) + 0.5) * STEP - MARGIN


@dataclasses.dataclass(frozen=True, slots=True)
class Camera:
    """Where every pixel of the crop looks: source points in crop coordinates, float32 (112, 112) each."""

    x: np.ndarray
    y: np.ndarray
    landmarks: np.ndarray


def relief(identity: Identity, hair: np.ndarray) -> np.ndarray:
    """Height in crop pixels, float32 (GRID, GRID). `hair` is the mask of the hair on the same grid, 0 to 1."""
    width, eye = identity.face_width, identity.eye_spacing / 2
    middle = (identity.chin_y - 12) / 2
    across, down = (_AXIS - CENTER_X) / (1.16 * width), (_AXIS - middle) / (0.62 * (identity.chin_y + 12))
    height = 34.0 * np.clip(1.0 - across[None, :] ** 2 - down[:, None] ** 2, 0.0, None) ** 0.8
    nose, mouth, age = identity.nose_y, identity.mouth_y, identity.age
    bridge = 3.0 + 3.0 * identity.nose_bridge
    bumps = (
        (0.0, nose - 1.0, 0.62 * identity.nose_width, 4.2, 9.0),
        (0.0, nose - 12.0, 3.2, 9.0, bridge),
        (0.0, EYE_Y - 8.0, 13.0, 4.0, 1.6),
        (0.0, mouth - 1.6, 0.40 * identity.mouth_width, 2.4, 1.0 + 0.35 * identity.upper_lip),
        (0.0, mouth + 3.0, 0.34 * identity.mouth_width, 2.4, 0.8 + 0.35 * identity.lower_lip),
        (0.0, mouth + 8.5, 9.0, 2.2, -1.8),
        (0.0, identity.chin_y - 7.0, 0.8 * identity.chin_width, 4.5, 3.5),
    )
    pairs = (
        (0.62 * identity.nose_width, nose + 1.2, 2.3, 2.6, 3.2),
        (eye, EYE_Y, 7.5, 4.2, -3.6),
        (eye, EYE_Y, 4.6, 2.8, 2.2),
        (eye + 1.0, EYE_Y - identity.brow_height, 8.0, 2.6, 1.8),
        (0.58 * width, 68.0, 8.0, 6.5, 2.2 + 2.2 * identity.cheeks),
        (0.52 * identity.mouth_width + 4.0, mouth - 6.0, 2.4, 7.0, -0.6 - 1.6 * age),
    )
    for x, y, spread_x, spread_y, amount in (*bumps, *pairs, *((-pair[0], *pair[1:]) for pair in pairs)):
        column = amount * np.exp(-0.5 * ((_AXIS - y) / spread_y) ** 2)
        height += column[:, None] * np.exp(-0.5 * ((_AXIS - CENTER_X - x) / spread_x) ** 2)
    return np.asarray(height + (0.4 + 0.25 * identity.hair_volume) * cv2.GaussianBlur(hair, (0, 0), 1.2), np.float32)


def turn(view: View) -> np.ndarray:
    """The rotation (3, 3) of the head: yaw about the vertical axis, then pitch about the horizontal one."""
    yaw, pitch = np.radians(view.yaw), np.radians(view.pitch)
    around_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return np.asarray(around_x @ around_y)


def lighting(height: np.ndarray, view: View) -> np.ndarray:
    """Diffuse and glossy light on the relief, float32 (GRID, GRID, 2): factors around 1, and 0 to 1.

    Lambert and Blinn-Phong, the lamp turned into the frame of the head.
    """
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / (8 * STEP))
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / (8 * STEP))
    length = 1.0 / np.sqrt(slope_x**2 + slope_y**2 + 1.0)
    azimuth, elevation = np.radians(view.light)
    lamp = np.array([np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    rotation = turn(view)
    lamp, eye = (lamp @ rotation).astype(np.float32), (np.array([0, 0, 1]) @ rotation).astype(np.float32)
    half = (lamp + eye) / np.linalg.norm(lamp + eye)
    facing = (lamp[2] - slope_x * lamp[0] - slope_y * lamp[1]) * length
    glossy = (half[2] - slope_x * half[0] - slope_y * half[1]) * length
    diffuse = 1.0 + np.float32(view.contrast) * (1.3 * np.maximum(facing, 0.0) - 0.85)
    # Corners that see little of the sky are darker: the difference from the surrounding height says which.
    hollow = height - cv2.GaussianBlur(height, (0, 0), 3.0)
    diffuse += np.clip(0.055 * hollow, -0.16, 0.06)
    return np.stack([diffuse, np.maximum(glossy, 0.0) ** 26], axis=-1)


def camera(identity: Identity, height: np.ndarray, view: View) -> Camera:
    """Turn the head, align its landmarks to the template by a similarity, and follow every pixel back to the relief."""
    rotation = turn(view)
    flat = neutral_landmarks(identity)
    depth = _sample(height, flat[:, 0].astype(np.float32)[None], flat[:, 1].astype(np.float32)[None])[0]
    solid = np.column_stack([flat - [CENTER_X, CENTER_Y], depth])
    seen = (solid @ rotation.T)[:, :2]
    to_crop = _residual(view) @ _square(similarity_transform(seen, ARCFACE_TEMPLATE.astype(np.float64)))
    back = np.linalg.inv(to_crop)
    pixels = np.arange(112, dtype=np.float32)
    p = np.float32(back[0, 0]) * pixels + (np.float32(back[0, 1]) * pixels + np.float32(back[0, 2]))[:, None]
    q = np.float32(back[1, 0]) * pixels + (np.float32(back[1, 1]) * pixels + np.float32(back[1, 2]))[:, None]
    x, y = _follow(p, q, height, view)
    landmarks = seen @ to_crop[:2, :2].T + to_crop[:2, 2]
    return Camera(x, y, landmarks)


def _follow(p: np.ndarray, q: np.ndarray, height: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Invert the projection of the relief by fixed-point steps; slopes under 1/tan(yaw) converge."""
    yaw, pitch = np.radians(view.yaw), np.radians(view.pitch)
    sine, cosine, sine_pitch, over = (
        np.float32(v) for v in (np.sin(yaw), np.cos(yaw), np.sin(pitch), 1 / np.cos(pitch))
    )
    x, y = p, q
    for _ in range(4):
        depth = _sample(height, x + np.float32(CENTER_X), y + np.float32(CENTER_Y))
        x = (p - depth * sine) * (1 / cosine)
        y = (q + (depth * cosine - x * sine) * sine_pitch) * over
    return x + np.float32(CENTER_X), y + np.float32(CENTER_Y)


def _sample(height: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    columns, rows = grid_position(x), grid_position(y)
    return np.asarray(cv2.remap(height, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def grid_position(coordinate: np.ndarray) -> np.ndarray:
    """Crop coordinate to index on the grid of the relief."""
    return (coordinate + np.float32(MARGIN)) * np.float32(1 / STEP) - np.float32(0.5)


def _square(affine: np.ndarray) -> np.ndarray:
    return np.vstack([affine, [0, 0, 1]])


def _residual(view: View) -> np.ndarray:
    roll = np.radians(view.roll)
    linear = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    center = np.array([CENTER_X, CENTER_Y])
    return _square(np.column_stack([linear, center - linear @ center + view.offset]))
