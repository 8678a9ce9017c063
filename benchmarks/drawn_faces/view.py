"""How a face is seen: what changes from picture to picture of one person."""

from __future__ import annotations

import dataclasses

import numpy as np

Color = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Pose, light, expression and camera of one picture. The defaults are a frontal, evenly lit, sharp portrait.

    Angles are degrees; positive yaw turns the face towards the right edge of the picture, positive pitch lifts the
    chin. `roll` and `offset` (pixels) are what an imperfect alignment leaves. `light` is the direction of the lamp
    (azimuth, elevation). `blur` is the deviation of a Gaussian in pixels, `noise` that of the sensor in grey levels,
    `jpeg_quality` 0 means no compression. `seed` fixes background and noise.
    """

    seed: int = 0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    offset: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float] = (0.0, 25.0)
    contrast: float = 0.5
    exposure: float = 1.0
    tint: Color = (1.0, 1.0, 1.0)
    mouth_open: float = 0.0
    smile: float = 0.0
    eyes_open: float = 1.0
    gaze: float = 0.0
    background: Color = (176.0, 184.0, 190.0)
    blur: float = 0.0
    noise: float = 0.0
    jpeg_quality: int = 0


def random_view(generator: np.random.Generator, difficulty: float = 1.0) -> View:
    """Draw a view; `difficulty` scales pose, misalignment, uneven light, blur and noise: 0 a portrait, 1 a snapshot."""
    uniform, normal = generator.uniform, generator.normal
    return View(
        seed=int(generator.integers(2**31)),
        yaw=float(np.clip(normal(0.0, 14.0 * difficulty), -32, 32)),
        pitch=float(np.clip(normal(0.0, 7.0 * difficulty), -16, 16)),
        roll=float(normal(0.0, 1.6 * difficulty)),
        offset=(float(normal(0.0, 0.8 * difficulty)), float(normal(0.0, 0.8 * difficulty))),
        light=(float(uniform(-75, 75)), float(uniform(-5, 60))),
        contrast=float(uniform(0.3, 0.3 + 0.45 * difficulty)),
        exposure=float(np.exp(normal(0.0, 0.18 * difficulty))),
        tint=_tint(generator, 0.065 * difficulty),
        mouth_open=float(max(0.0, normal(0.0, 0.45))),
        smile=float(np.clip(normal(0.25, 0.45), -0.5, 1.0)),
        eyes_open=float(np.clip(normal(1.0, 0.18), 0.35, 1.25)),
        gaze=float(np.clip(normal(0.0, 0.4), -1, 1)),
        background=_background(generator),
        blur=float(uniform(0.0, 1.1 * difficulty)),
        noise=float(uniform(0.0, 7.0 * difficulty)),
        jpeg_quality=int(generator.integers(45, 96)),
    )


def _tint(generator: np.random.Generator, deviation: float) -> Color:
    """The lamp's color, between warm and cold, and a little off that line."""
    warmth, green = generator.normal(0.0, deviation), generator.normal(0.0, 0.25 * deviation)
    return (float(np.exp(warmth)), float(np.exp(green)), float(np.exp(-warmth)))


def _background(generator: np.random.Generator) -> Color:
    """Mostly grey: walls, streets and leaves out of focus."""
    red, green, blue = np.clip(generator.uniform(35, 220) + generator.normal(0.0, 16.0, 3), 0, 255)
    return (float(red), float(green), float(blue))
