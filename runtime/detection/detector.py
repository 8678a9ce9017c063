"""Faces in photos by a detector file that the user brings."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.arguments import number, path_of, whole_number
from efq.runtime.detection.canvas import fit_canvas
from efq.runtime.detection.detections import Detections, suppress
from efq.runtime.detection.families import find_family
from efq.runtime.detection.family import Family
from efq.runtime.detection.model_file import read_detector
from efq.runtime.detection.network import DetectorNetwork, OnnxDetectorNetwork
from efq.runtime.errors import IncompatibleArtifactError, InputError, UsageError

DEFAULT_SIZE = 640
SIZES = range(64, 4097)
_MULTIPLE = 32  # the coarsest stride of every family: sides of the canvas

_OVERLAP = 0.4  # InsightFace's, for SCRFD; OpenCV's default for YuNet is 0.3
_MOST_FACES = 5_000
_HIGHEST = 1.001  # score, of a sigmoid in few bits


class Detector:
    """A face detector in ONNX Runtime; `detect` may be called from several threads at once."""

    def __init__(self, network: DetectorNetwork, family: Family, size: tuple[int, int], path: Path) -> None:
        """For `Detector.open`. size: rows and columns of the canvas."""
        self._network, self._family, self._size, self._path = network, family, size, path

    @classmethod
    def open(cls, path: Path | str, *, size: int | None = None, threads: int | None = None) -> Self:
        """Open an SCRFD or YuNet file (ONNX), with five landmarks.

        size: the side in pixels of the square that photos are fitted into, a multiple of 32: larger ones find smaller
        faces, and take longer; 640 unless given, or the only one that the file allows. threads: every usable CPU
        unless given.

        Raises IncompatibleArtifactError for a file that is no such detector, UsageError for a size that cannot be,
        MissingDependencyError without ONNX Runtime.
        """
        path = path_of(path, "a detector file")
        size = _checked_size(size)
        content = read_detector(path)
        network = OnnxDetectorNetwork(content, path, threads=threads)
        with contextlib.ExitStack() as refused:
            refused.callback(network.close)
            signature = network.signature
            family = find_family(signature, path)
            (shape,) = signature.inputs.values()
            sides = tuple(_side(fixed, size, path) for fixed in shape[2:])
            opened = cls(network, family, (sides[0], sides[1]), path)
            opened.detect(np.zeros((*opened.size, 3), np.uint8))  # a file that cannot do this cannot do anything
            refused.pop_all()
        return opened

    @property
    def name(self) -> str:
        """The family, "SCRFD" or "YuNet"."""
        return self._family.name

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of what photos are fitted into."""
        return self._size

    def detect(self, photo: NDArray[np.uint8], *, min_score: float | None = None) -> Detections:
        """The faces in a photo, uint8 (H, W, 3), RGB, as `read_image` gives it.

        min_score: from 0 to 1; what is usual for the family unless given. Raises InputError for another array,
        UsageError for a score that cannot be, and after `close`, IncompatibleArtifactError for a network that gives
        something else than its family does.
        """
        _check_photo(photo)
        expected = "a least score above 0 and at most 1"
        least = self._family.min_score if min_score is None else number(min_score, expected, least=0, most=1)
        if not least:
            message = f"expected {expected}, found {least}"
            raise UsageError(message)
        canvas = fit_canvas(photo, *self._size)
        outputs = self._network.run(self._family.feed(canvas.image))
        found = self._family.decode(outputs, self._size, least)
        problem = "other shapes" if found is None else _problem(found)
        if found is None or problem:
            message = f"expected the outputs of {self.name} from {self._path}, found {problem}; use another file"
            raise IncompatibleArtifactError(message)
        found = suppress(found.take(np.arange(min(len(found), _MOST_FACES))), _OVERLAP)
        return Detections(
            boxes=canvas.to_photo(found.boxes.reshape(-1, 2, 2)).reshape(-1, 4),
            scores=found.scores,
            landmarks=canvas.to_photo(found.landmarks),
        )

    def close(self) -> None:
        """Free the network. Waits for calls that run; later ones raise UsageError. Again it does nothing."""
        self._network.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked_size(size: int | None) -> int | None:
    if size is None:
        return None
    expected = f"a size of {SIZES[0]} to {SIZES[-1]} pixels, a multiple of {_MULTIPLE}"
    size = whole_number(size, expected, least=SIZES[0], most=SIZES[-1])
    if size % _MULTIPLE:
        message = f"expected {expected}, found {size}"
        raise UsageError(message)
    return size


def _side(fixed: int | str, size: int | None, path: Path) -> int:
    """A side of the canvas: the one that the file has, or else the one that is asked for."""
    if isinstance(fixed, str):
        return DEFAULT_SIZE if size is None else size
    if fixed not in SIZES or fixed % _MULTIPLE:
        message = f"expected a detector of {SIZES[0]} to {SIZES[-1]} pixels at {path}, found one of {fixed}"
        raise IncompatibleArtifactError(message)
    if size not in (None, fixed):
        message = f"expected the size {fixed}, the only one that {path} takes, found {size}; leave it out"
        raise UsageError(message)
    return fixed


def _check_photo(photo: NDArray[np.uint8]) -> None:
    fits = isinstance(photo, np.ndarray) and photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3
    if not fits or not photo.size:
        found = f"{photo.dtype} {photo.shape}" if isinstance(photo, np.ndarray) else type(photo).__name__
        message = f"expected a photo uint8 (H, W, 3), RGB, found {found}"
        raise InputError(message)


def _problem(found: Detections) -> str:
    """What cannot be of a detector's numbers, empty for nothing."""
    if not all(np.isfinite(values).all() for values in (found.boxes, found.scores, found.landmarks)):
        return "numbers that are not finite"
    if len(found) and found.scores.max() > _HIGHEST:
        return f"a score of {found.scores.max():.3g}, which no sigmoid gives"
    return ""
