"""What a verification set's pickle has to hold: images, and for each two of them whether they are of one person."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from efq.toolchain.data.sources.packed.machine import MOST_INSTRUCTIONS, carry_out
from efq.toolchain.data.sources.packed.spans import Span
from efq.toolchain.data.sources.packed.values import Array, UnexpectedContentError

_LABEL_BYTES = 8 * MOST_INSTRUCTIONS


def read_content(file: BinaryIO, size: int) -> tuple[list[Span], NDArray[np.bool_]]:
    """Where each image of the pickle in `file`, of `size` bytes, lies, and the labels (P,) of its pairs.

    Raises BrokenPickleError and UnexpectedContentError as `carry_out` does, and for something else than 2 P images.
    """
    found = carry_out(file, size)
    if not isinstance(found, list | tuple) or len(found) != 2:
        message = f"a pickle of {_described(found)}"
        raise UnexpectedContentError(message)
    images, labels = found
    if not isinstance(images, list | tuple):
        message = f"{_described(images)} in place of the images"
        raise UnexpectedContentError(message)
    spans = [_image(value, number) for number, value in enumerate(images)]
    same = _labels(file, labels)
    if len(spans) != 2 * len(same) or not len(same):
        message = f"{len(spans):,} images for {len(same):,} pairs, not two for each"
        raise UnexpectedContentError(message)
    return spans, same


def _image(value: Any, number: int) -> Span:
    if isinstance(value, Array) and value.type is not None and value.type.code == "u1" and value.data is not None:
        value = value.data
    if not isinstance(value, Span) or value.is_text:
        message = f"{_described(value)} in place of image {number}"
        raise UnexpectedContentError(message)
    return value


def _labels(file: BinaryIO, labels: Any) -> NDArray[np.bool_]:
    if isinstance(labels, Array):
        found = _numbers(file, labels)
    elif isinstance(labels, list | tuple):
        found = [number for value in labels for number in (_numbers(file, value))]
    else:
        message = f"{_described(labels)} in place of the labels"
        raise UnexpectedContentError(message)
    wrong = next((number for number in found if number not in (0, 1)), None)
    if wrong is not None:
        message = f"the label {wrong}, which is neither true nor false"
        raise UnexpectedContentError(message)
    return np.array(found, np.bool_)


def _numbers(file: BinaryIO, value: Any) -> list[int]:
    if isinstance(value, bool | int):
        return [int(value)]
    if not isinstance(value, Array) or value.type is None or value.data is None:
        message = f"{_described(value)} in place of a label"
        raise UnexpectedContentError(message)
    if value.type.order not in ("|", "<", "="):
        message = "labels in big-endian numbers"
        raise UnexpectedContentError(message)
    raw = value.data.read(file, limit=_LABEL_BYTES)
    width = int(value.type.code[1])
    count = value.shape[0] if value.shape else 1
    if count * width != len(raw):
        message = f"{len(raw):,} bytes for a numpy array of {count:,} numbers"
        raise UnexpectedContentError(message)
    kind = "u1" if value.type.code == "b1" else value.type.code
    return [int(number) for number in np.frombuffer(raw, f"<{kind}")]


def _described(value: Any) -> str:
    """A value in words, without its text."""
    if isinstance(value, Span):
        return "text" if value.is_text else "bytes"
    if isinstance(value, list | tuple):
        return f"{len(value):,} values in one {type(value).__name__}"
    if isinstance(value, Array):
        return "a numpy array"
    return str(value)[:20] if value is None or isinstance(value, int) else "an object"
