"""The walks of `jpeg_walks` in C++ (`source/scan_walks.cpp`), where they were built."""

from __future__ import annotations

import array
import ctypes
import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.faces.formats.jpeg import Scan
from efq.runtime.faces.formats.scan_ways import Way, blocks_of, check_spare, codes_of, hole, no_code, run_too_long
from efq.runtime.machine.compiled import built_library, open_library

LIBRARY = "scan_walks"

_COMPONENTS, _SPECIFICATION = 4, 16 + 256
_WHOLE, _EARLY, _LEFT, _NO_CODE, _HOLE, _LONG_RUN = range(6)

_logger = logging.getLogger(__name__)

_Codes = ctypes.c_uint8 * (_COMPONENTS * _SPECIFICATION)


class _Record(ctypes.Structure):
    """`Scan` of the source."""

    _fields_ = (
        ("data", ctypes.c_char_p),
        ("lengths", ctypes.c_void_p),
        ("segments", ctypes.c_int64),
        ("units", ctypes.c_int64),
        ("units_each", ctypes.c_int64),
        ("means", ctypes.c_void_p),
        ("known", ctypes.c_void_p),
        ("way", ctypes.c_int32),
        ("components", ctypes.c_int32),
        ("first", ctypes.c_int32),
        ("last", ctypes.c_int32),
        ("blocks", ctypes.c_int32 * _COMPONENTS),
        ("mean_codes", _Codes),
        ("codes", _Codes),
    )


def library_path() -> Path | None:
    """The library beside this file; None where it was not built."""
    return built_library(Path(__file__).parent, LIBRARY)


@functools.cache
def load_library() -> ctypes.CDLL | None:
    """The library; None where it was not built, and, with a warning, where it is not one of this version."""
    path = library_path()
    if path is None:
        return None
    try:
        library = open_library(path)
        size, walk = library.efq_scan_size, library.efq_walk_scan
    except (OSError, AttributeError) as error:
        _logger.warning(
            "JPEGs are checked in Python, which is slow: %s cannot be loaded (%s); install EFQ again", path, error
        )
        return None
    size.argtypes, size.restype = [], ctypes.c_int32
    if size() != ctypes.sizeof(_Record):
        _logger.warning("JPEGs are checked in Python, which is slow: %s is of another version; install EFQ again", path)
        return None
    walk.argtypes, walk.restype = [ctypes.POINTER(_Record), ctypes.POINTER(ctypes.c_int64)], ctypes.c_int32
    return library


def walk_scan(scan: Scan, way: Way, known: array.array[int]) -> NDArray[np.int32]:
    """As `jpeg_walks.walk_scan`, in the library, which has to be there."""
    library = load_library()
    assert library is not None
    mean_codes, codes = codes_of(scan, way)
    blocks = blocks_of(scan)
    means = np.empty(scan.units * sum(blocks) if way in (Way.BLOCKS, Way.MEANS) else 0, np.int32)
    lengths = np.array([len(segment) for segment in scan.segments], np.int64)
    record = _Record(
        data=b"".join(scan.segments),
        lengths=lengths.ctypes.data,
        segments=len(lengths),
        units=scan.units,
        units_each=scan.units_each,
        means=means.ctypes.data,
        known=known.buffer_info()[0],
        way=way,
        components=len(blocks),
        first=scan.first,
        last=scan.last,
        blocks=blocks,
        mean_codes=_joined(mean_codes),
        codes=_joined(codes),
    )
    spare = ctypes.c_int64()
    verdict = library.efq_walk_scan(ctypes.byref(record), ctypes.byref(spare))
    if verdict == _NO_CODE:
        no_code()
    if verdict == _HOLE:
        hole()
    if verdict == _LONG_RUN:
        run_too_long()
    if verdict not in (_WHOLE, _EARLY, _LEFT):
        message = f"a scan that is not sound: {way!r}, {scan.units} groups, {len(lengths)} segments"
        raise AssertionError(message)
    check_spare(spare.value)
    return means


def _joined(codes: Sequence[bytes]) -> ctypes.Array[ctypes.c_uint8]:
    """Each specification in the room of the longest."""
    joined = b"".join(code.ljust(_SPECIFICATION, b"\0") for code in codes)
    return _Codes.from_buffer_copy(joined.ljust(_COMPONENTS * _SPECIFICATION, b"\0"))
