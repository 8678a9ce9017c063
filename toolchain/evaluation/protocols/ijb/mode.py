"""What of an image's embedding goes into its template: the switches N, D and F, as InsightFace's scripts name them."""

from __future__ import annotations

import dataclasses
import re
from typing import Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import UsageError

DEFAULT_MODE = "N1D1F2"
"""What InsightFace's ijb_11.py and ijb_1n.py are set to."""

_NAME = re.compile(r"N([01])D([01])F([012])")
_TINY = 1e-12  # a length of 0 stays one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class IjbMode:
    """The switches of recognition/_evaluation_/ijb/ijb_11.py, there `use_norm_score` and so on ("TestMode").

    norm: N1 keeps the length of an image's feature as a weight, N0 divides by it. The embeddings of EFQ's networks have
        length 1, and their sum with the mirror image's (F2) is the longer the more alike both are; that is the length
        N1 keeps. detector: D1 multiplies by the detector's score. flip: F0 the image alone, F1 its embedding and the
        mirror image's one after the other, F2 their sum.
    """

    norm: bool
    detector: bool
    flip: int

    @classmethod
    def parse(cls, name: str) -> Self:
        """ "N1D1F2" in capitals or not. Raises UsageError for another name, and for N1 without F2, which does nothing.

        Without a sum all features are equally long.
        """
        found = _NAME.fullmatch(name.strip().upper())
        if found is None:
            message = f"expected a mode such as {DEFAULT_MODE} (N 0 or 1, D 0 or 1, F 0, 1 or 2), found {name[:40]!r}"
            raise UsageError(message)
        norm, detector, flip = (int(digit) for digit in found.groups())
        if norm and flip != 2:
            message = (
                f"N1 does nothing without F2, as embeddings have length 1: give N0D{detector}F{flip}, found {name}"
            )
            raise UsageError(message)
        return cls(norm=bool(norm), detector=bool(detector), flip=flip)

    @property
    def name(self) -> str:
        """As `parse` takes it."""
        return f"N{int(self.norm)}D{int(self.detector)}F{self.flip}"

    def features(
        self, plain: NDArray[np.float32], mirrored: NDArray[np.float32] | None, scores: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Features (n, d), or (n, 2d) with F1, of images by their embeddings and their mirror images', each (n, d).

        `mirrored` is None for F0. scores: (n,), the detector's.
        """
        features = plain
        if mirrored is not None:
            features = plain + mirrored if self.flip == 2 else np.concatenate([plain, mirrored], axis=1)
        if not self.norm:
            features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), _TINY)
        return (features * scores[:, None] if self.detector else features).astype(np.float32)
