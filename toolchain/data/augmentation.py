"""Random changes to aligned faces, mild enough that the teacher still knows the person."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import UsageError

_RANGES = {"shift": (0, 112), "rotation": (0, 180), "scale": (0, 0.9), "smallest_size": (8, 112)}  # others: 0 to 1
_LUMINANCE = np.array([0.299, 0.587, 0.114])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """How much to change a face; each amount is the largest change, drawn uniformly on both sides, and 0 turns it off.

    flip, gray, low_resolution, blur, cutout: probability of a mirror image, of no color, of a loss of detail (shrunk to
        `smallest_size` or more and enlarged again), of a Gaussian blur, of a gray rectangle.
    shift: in pixels; scale: as a share of the size; rotation: in degrees, about the center.
    brightness: as a share of 255; contrast, saturation: as a share of the image's own.
    smallest_size: height in pixels of the worst low resolution.
    cutout_size: largest side of the rectangle, as a share of the image's.
    """

    flip: float = 0.5
    shift: float = 4.0
    scale: float = 0.05
    rotation: float = 5.0
    brightness: float = 0.1
    contrast: float = 0.2
    saturation: float = 0.2
    gray: float = 0.02
    low_resolution: float = 0.1
    smallest_size: int = 40
    blur: float = 0.05
    cutout: float = 0.0
    cutout_size: float = 0.4

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            low, high = _RANGES.get(field.name, (0, 1))
            value = getattr(self, field.name)
            if not low <= value <= high:
                message = f"expected the {field.name} of an augmentation between {low} and {high}, found {value!r}"
                raise UsageError(message)


DEFAULT_AUGMENTATION = Augmentation()


def augment(
    images: NDArray[np.uint8], generator: np.random.Generator, settings: Augmentation = DEFAULT_AUGMENTATION
) -> NDArray[np.uint8]:
    """Changed copies of `images`, (N, H, W, 3) uint8 RGB; the same for the same state of `generator`."""
    images = np.asarray(images)
    count, height, width = images.shape[:3]
    warps = _warps(count, height, width, generator, settings)
    colors = _colors(count, generator, settings)
    detail = generator.uniform(size=(count, 4))
    rectangles = generator.uniform(size=(count, 5))
    changed = np.empty_like(images)
    for index in range(count):
        face = _warp_and_color(images[index], warps[index], colors[index])
        face = _lose_detail(face, detail[index], settings)
        if rectangles[index, 0] < settings.cutout:
            _cut_out(face, rectangles[index, 1:], settings)
        changed[index] = face
    return changed


def _warps(
    count: int, height: int, width: int, generator: np.random.Generator, settings: Augmentation
) -> NDArray[np.float64]:
    """Affine maps (N, 2, 3) from source to changed pixels: mirror, rotate and scale about the center, then shift."""
    angle = np.deg2rad(generator.uniform(-settings.rotation, settings.rotation, count))
    scale = 1.0 + generator.uniform(-settings.scale, settings.scale, count)
    shift = generator.uniform(-settings.shift, settings.shift, (count, 2))
    mirror = np.where(generator.uniform(size=count) < settings.flip, -1.0, 1.0)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.stack([np.stack([cosine * mirror, -sine], -1), np.stack([sine * mirror, cosine], -1)], 1)
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.concatenate([linear, (center - linear @ center + shift)[:, :, None]], axis=2)


def _colors(count: int, generator: np.random.Generator, settings: Augmentation) -> NDArray[np.float64]:
    """Affine maps (N, 3, 4) of RGB: saturation about the luminance, contrast about mid-gray, then brightness."""
    saturation = 1.0 + generator.uniform(-settings.saturation, settings.saturation, count)
    saturation[generator.uniform(size=count) < settings.gray] = 0.0
    contrast = 1.0 + generator.uniform(-settings.contrast, settings.contrast, count)
    brightness = 255.0 * generator.uniform(-settings.brightness, settings.brightness, count)
    mixed = saturation[:, None, None] * np.eye(3) + (1.0 - saturation)[:, None, None] * _LUMINANCE[None, None, :]
    offset = np.broadcast_to((brightness + 127.5 * (1.0 - contrast))[:, None, None], (count, 3, 1))
    return np.concatenate([contrast[:, None, None] * mixed, offset], axis=2)


def _warp_and_color(
    face: NDArray[np.uint8], warp: NDArray[np.float64], color: NDArray[np.float64]
) -> NDArray[np.uint8]:
    import cv2

    height, width = face.shape[:2]
    warped = cv2.warpAffine(face, warp, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.transform(warped, color), dtype=np.uint8)


def _lose_detail(face: NDArray[np.uint8], draws: NDArray[np.float64], settings: Augmentation) -> NDArray[np.uint8]:
    """Low resolution and blur, each with its probability; `draws` (4,) uniform in [0, 1)."""
    import cv2

    height, width = face.shape[:2]
    if draws[0] < settings.low_resolution:
        small = round(settings.smallest_size + draws[1] * max(height - settings.smallest_size, 0))
        shrunk = cv2.resize(face, (max(round(small * width / height), 1), small), interpolation=cv2.INTER_AREA)
        face = np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    if draws[2] < settings.blur:
        face = np.asarray(cv2.GaussianBlur(face, (0, 0), 0.5 + 1.0 * draws[3]), dtype=np.uint8)
    return face


def _cut_out(face: NDArray[np.uint8], draws: NDArray[np.float64], settings: Augmentation) -> None:
    """Paint a mid-gray rectangle into `face`; `draws` (4,) uniform in [0, 1): its height, width, top and left."""
    size = np.array(face.shape[:2])
    sides = np.maximum((draws[:2] * settings.cutout_size * size).astype(int), 1)
    top, left = (draws[2:] * (size - sides + 1)).astype(int).tolist()
    face[top : top + sides[0], left : left + sides[1]] = 127
