"""The walk over a JPEG's codes in C++ says of every file what the one in Python says, and gives other threads way."""

from __future__ import annotations

import array
import random
import sys
import threading
import time

import cv2
import fuzz_jpeg_walks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import image_file

from efq.runtime.errors import UnreadableImageError
from efq.runtime.faces.formats import compiled_walks
from efq.runtime.faces.formats.jpeg import frame_of, scans_of
from efq.runtime.faces.formats.jpeg_data import check_data, check_data_by
from efq.runtime.faces.formats.scan_ways import Way
from efq.runtime.faces.images import decode_image

built = pytest.mark.skipif(compiled_walks.load_library() is None, reason="the walks were not built: make native")


@built
def test_every_whole_file_is_whole_to_both() -> None:
    for data in fuzz_jpeg_walks.jpeg_files():
        both = fuzz_jpeg_walks.Both()
        check_data_by(both, data)
        assert not both.difference


@built
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_both_say_the_same_of_damaged_files(seed: int) -> None:
    assert not fuzz_jpeg_walks.attempt(random.Random(seed), 0).startswith("HOLE")


def test_without_the_library_python_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    data = image_file("jpeg-progressive")
    monkeypatch.setattr(compiled_walks, "load_library", lambda: None)
    monkeypatch.delattr(compiled_walks, "walk_scan")
    check_data(data)
    with pytest.raises(UnreadableImageError, match="JPEG"):
        decode_image(data[: len(data) // 2] + b"\xff\xd9", name="face")


@built
def test_other_threads_run_while_it_walks() -> None:
    """Python switches between threads after seconds only, so that they run when the walk gives them way."""
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    data = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    scan = next(scans_of(data, frame_of(data)))
    started, finished = threading.Event(), threading.Event()

    def walk() -> None:
        started.set()
        compiled_walks.walk_scan(scan, Way.BLOCKS, array.array("Q"))
        finished.set()

    thread = threading.Thread(target=walk)
    interval, turns = sys.getswitchinterval(), 0
    try:
        sys.setswitchinterval(30)
        thread.start()
        started.wait()
        while not finished.is_set():
            turns += 1
            time.sleep(1e-4)
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert turns > 2


@pytest.mark.parametrize("place", ["header", "data"])
def test_fill_bytes_take_time_by_their_number(place: str) -> None:
    """Any number of bytes 255 may stand before a marker; ten thousand took seconds, by their square."""
    data, fill = image_file("jpeg"), b"\xff" * 3_000_000
    at = data.index(b"\xff\xda") + (0 if place == "header" else 14)
    start = time.thread_time()
    if place == "header":
        decode_image(data[:at] + fill + data[at:], name="face")
    else:
        with pytest.raises(UnreadableImageError):
            decode_image(data[:at] + fill + b"\0" + data[at:], name="face")
    assert time.thread_time() - start < 2
