"""A JPEG whose tables for means have symbols that are no sizes is damaged, and no error of another kind."""

from __future__ import annotations

import pytest
from services import face_png

from efq.runtime.errors import UnreadableImageError
from efq.runtime.faces.images import decode_image


def jpeg_with_mean_symbol(symbol: int) -> bytes:
    """A JPEG whose first Huffman table, that of the means, has `symbol` in place of every one."""
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(face_png(0), np.uint8), cv2.IMREAD_COLOR)
    data = bytearray(cv2.imencode(".jpg", picture)[1].tobytes())
    start = data.index(b"\xff\xc4") + 4
    assert data[start] == 0
    count = sum(data[start + 1 : start + 17])
    data[start + 17 : start + 17 + count] = bytes([symbol]) * count
    return bytes(data)


@pytest.mark.parametrize("symbol", [12, 0x13, 0x83, 0xF3, 0xFB])
def test_symbols_of_means_that_are_no_sizes(symbol: int) -> None:
    with pytest.raises(UnreadableImageError):
        decode_image(jpeg_with_mean_symbol(symbol), name="an image")
