"""What checking a JPEG costs beside decoding it: `python tests/scripts/measure_decoding.py PHOTO`.

For a crop of 112x112 pixels and for 12 megapixels, both made of PHOTO, in several kinds of JPEG: CPU milliseconds of
one thread (medians) of OpenCV's decoder, of the check by the walk in C++ and by that in Python, and the checks' times
over the decoder's.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from efq.runtime.faces.formats import compiled_walks, jpeg_walks
from efq.runtime.faces.formats.jpeg_data import check_data_by

KINDS = {
    "baseline": {"quality": 92},
    "own tables": {"quality": 92, "subsampling": 0, "optimize": True},
    "restarts": {"quality": 92, "restart_marker_rows": 1},
    "progressive": {"quality": 92, "progressive": True},
}
SIZES = {"crop": ((112, 112), 41), "12 MP": ((4000, 3000), 5)}


def milliseconds(call: Callable[[], object], rounds: int) -> float:
    """Of the CPU, in this thread: the median."""
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return 1000 * statistics.median(times)


def times_of(data: bytes, rounds: int) -> tuple[float, float, float]:
    """Of OpenCV's decoder, the check in C++ and the check in Python."""
    encoded = np.frombuffer(data, np.uint8)
    return (
        milliseconds(lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR), rounds),
        milliseconds(lambda: check_data_by(compiled_walks.walk_scan, data), rounds),
        milliseconds(lambda: check_data_by(jpeg_walks.walk_scan, data), rounds),
    )


def main() -> None:
    """Measure and print."""
    cv2.setNumThreads(1)
    photo: NDArray[np.uint8] = np.asarray(Image.open(sys.argv[1]).convert("RGB"))
    for name, (size, rounds) in SIZES.items():
        picture = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if size[0] < photo.shape[1] else cv2.INTER_CUBIC)
        for kind, options in KINDS.items():
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", **options)
            decoder, compiled, python = times_of(buffer.getvalue(), rounds)
            print(
                f"{name:6} {kind:12} {len(buffer.getvalue()):10,} bytes  OpenCV {decoder:8.3f}  "
                f"C++ {compiled:8.3f} ({compiled / decoder:.2f} x)  Python {python:9.3f} ({python / decoder:.1f} x)"
            )


if __name__ == "__main__":
    main()
