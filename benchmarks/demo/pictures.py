"""Pictures inside the page: contact sheets, embedded as text, and the loss."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.pages.markup import Html
from efq.benchmarks.pages.plots import Series, plot
from efq.benchmarks.pages.scales import linear_axis


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


def loss_plot(values: Sequence[float]) -> Html:
    """The loss over steps: as measured, and as the mean of the twentieth of the steps around."""
    raw = np.asarray(values, np.float64)
    window = max(1, len(raw) // 20)
    padded = np.pad(raw, (window // 2, window - 1 - window // 2), mode="edge")
    mean = np.convolve(padded, np.full(window, 1 / window), mode="valid")
    steps = np.arange(len(raw), dtype=np.float64)
    top = float(np.quantile(raw, 0.995)) * 1.05 or 1.0
    return plot(
        "loss",
        title="Loss of the float teacher",
        description=f"The loss by step, from {mean[0]:.3g} to {mean[-1]:.3g} over {len(raw)} steps.",
        x=linear_axis("step", 0, len(raw), write=_short),
        y=linear_axis("loss", 0, top, write=_short),
        series=[
            Series(label="each step", role="reference", x=steps, y=raw),
            Series(label="mean", role="student", x=steps, y=mean),
        ],
    )


def _short(value: float) -> str:
    return f"{value:g}"
