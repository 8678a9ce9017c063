"""Pictures inside the page: contact sheets and curves, embedded as text."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

CURVE_WIDTH, CURVE_HEIGHT = 720, 240
_LEFT, _BOTTOM, _TOP = 44, 28, 10


def contact_sheet(
    images: NDArray[np.uint8], labels: NDArray[np.int64], *, rows: int, columns: int
) -> NDArray[np.uint8]:
    """One row for each of the first `rows` identities that have `columns` images or more, uint8 (H, W, 3).

    Identities with fewer images fill what is left, their row ending in the background's grey.
    """
    values, counts = np.unique(labels, return_counts=True)
    order = values[np.argsort(-np.minimum(counts, columns), kind="stable")][:rows]
    height, width = images.shape[1:3]
    sheet = np.full((len(order) * height, columns * width, 3), 128, np.uint8)
    for row, label in enumerate(order):
        for column, index in enumerate(np.flatnonzero(labels == label)[:columns]):
            sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = images[index]
    return sheet


def jpeg_uri(image: NDArray[np.uint8], *, quality: int = 88) -> str:
    """An RGB image (H, W, 3) as a data URI."""
    _, encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def png_uri(path: Path) -> str:
    """A PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def curve(values: Sequence[float], *, label: str) -> str:
    """A line over steps as SVG: faint as measured, strong as the mean of the twentieth of the steps around."""
    raw = np.asarray(values, np.float64)
    window = max(1, len(raw) // 20)
    padded = np.pad(raw, (window // 2, window - 1 - window // 2), mode="edge")
    mean = np.convolve(padded, np.full(window, 1 / window), mode="valid")
    top = float(np.quantile(raw, 0.995)) * 1.05 or 1.0
    ticks = "".join(_tick(part * top / 4, top) for part in range(5))
    return (
        f'<svg class="curve" viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}" role="img" aria-label="{html.escape(label)}">'
        f'{ticks}<polyline class="raw" points="{_points(raw, top)}"/><polyline points="{_points(mean, top)}"/>'
        f'<text x="{CURVE_WIDTH - 4}" y="{CURVE_HEIGHT - 6}" text-anchor="end">step {len(raw)}</text>'
        f'<text x="{_LEFT}" y="{CURVE_HEIGHT - 6}">{html.escape(label)}</text></svg>'
    )


def _points(values: NDArray[np.float64], top: float) -> str:
    x = np.linspace(_LEFT, CURVE_WIDTH - 4, len(values))
    y = _height(np.clip(values, 0, top), top)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _tick(value: float, top: float) -> str:
    y = float(_height(np.float64(value), top))
    return (
        f'<line x1="{_LEFT}" x2="{CURVE_WIDTH - 4}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
    )


def _height(values: NDArray[np.float64] | np.float64, top: float) -> NDArray[np.float64]:
    return np.asarray(CURVE_HEIGHT - _BOTTOM - values / top * (CURVE_HEIGHT - _BOTTOM - _TOP))
