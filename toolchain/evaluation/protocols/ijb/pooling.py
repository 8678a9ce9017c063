"""Templates from images: the features of one media are averaged, the media added up, the sum brought to length 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TINY = 1e-12


class TemplatePool:
    """`image2template_feature` of InsightFace's ijb_11.py for images that come one batch after the other.

    Holds the sums of the templates, (T, d) float64, and one media's: never the features of all images.
    """

    def __init__(self, templates: int) -> None:
        self._templates = templates
        self._sums: NDArray[np.float64] | None = None
        self._media: tuple[int, int] | None = None
        self._total: NDArray[np.float64] | None = None
        self._count = 0

    def add(self, features: NDArray[np.float32], templates: NDArray[np.int64], medias: NDArray[np.int64]) -> None:
        """Add the features (n, d) of images of `templates` (n,), places below T, and `medias` (n,).

        All images of a media of a template have to come one after the other.
        """
        if self._sums is None:
            self._sums = np.zeros((self._templates, features.shape[1]))
        changes = np.flatnonzero((np.diff(templates) != 0) | (np.diff(medias) != 0)) + 1
        for place, part in zip([0, *changes], np.split(features.astype(np.float64), changes), strict=True):
            media = int(templates[place]), int(medias[place])
            if media != self._media:
                self._finish_media()
                self._media = media
            total = part.sum(axis=0)
            self._total = total if self._total is None else self._total + total
            self._count += len(part)

    def features(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The templates (T, d), rows of length 1, and whether each has one (T,): rows of the others are 0.

        A template has none when no image of it came, or when all that came have no weight.
        """
        self._finish_media()
        if self._sums is None:
            return np.zeros((self._templates, 1), np.float32), np.zeros(self._templates, np.bool_)
        lengths = np.linalg.norm(self._sums, axis=1)
        enrolled = lengths > _TINY
        unit = self._sums / np.where(enrolled, lengths, 1.0)[:, None]
        return (unit * enrolled[:, None]).astype(np.float32), enrolled

    def _finish_media(self) -> None:
        if self._media is not None and self._sums is not None and self._total is not None:
            self._sums[self._media[0]] += self._total / self._count
        self._media, self._total, self._count = None, None, 0
