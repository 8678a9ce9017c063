"""Verification sets (.bin) as different Pythons write them: what pickle writes now, and Python 2's by hand."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Images = Sequence[bytes]
Labels = Sequence[bool]
FORMS: Mapping[str, Callable[[Images, Labels], Any]] = {
    "as InsightFace": lambda images, same: (list(images), list(same)),
    "tuples": lambda images, same: (tuple(images), tuple(same)),
    "labels as numbers": lambda images, same: [list(images), [int(one) for one in same]],
    "labels as an array": lambda images, same: (list(images), np.array(same)),
    "labels as an array of numbers": lambda images, same: (list(images), np.array(same, np.int64)),
    "labels of numpy": lambda images, same: (list(images), [np.bool_(one) for one in same]),
    "images as arrays": lambda images, same: ([np.frombuffer(one, np.uint8) for one in images], list(same)),
    "images as bytearrays": lambda images, same: ([bytearray(one) for one in images], list(same)),
}
PYTHON_2 = ("0", "1", "2")


def write_set(path: Path, images: Images, same: Labels, *, protocol: int = 4, form: str = "as InsightFace") -> Path:
    """The set as Python 3 pickles it."""
    path.write_bytes(pickle.dumps(FORMS[form](images, same), protocol=protocol))
    return path


def python_2_set(images: Images, same: Labels, protocol: str) -> bytes:
    """The set as Python 2's cPickle writes `(images, same)`, with str for images."""
    if protocol == "0":
        pieces = [b"((lp1\n"]
        pieces += [b"S" + _python_2_repr(one) + b"\np%d\na" % (place + 2) for place, one in enumerate(images)]
        pieces += [b"(lp%d\n" % (len(images) + 2), *(b"I0%d\na" % one for one in same), b"tp0\n."]
        return b"".join(pieces)
    lead = b"\x80\x02" if protocol == "2" else b""
    truths = (b"\x89", b"\x88") if protocol == "2" else (b"I00\n", b"I01\n")
    texts = b"".join(
        (b"U" + struct.pack("<B", len(one)) if len(one) < 256 else b"T" + struct.pack("<i", len(one)))
        + one
        + b"r"
        + struct.pack("<I", place + 2)
        for place, one in enumerate(images)
    )
    labels = b"".join(truths[one] for one in same)
    end = b"\x86q\0." if protocol == "2" else b"tq\0."
    start = b"" if protocol == "2" else b"("
    return lead + start + b"]q\x01(" + texts + b"e]r\xff\xff\0\0(" + labels + b"e" + end


def _python_2_repr(text: bytes) -> bytes:
    return repr(text)[1:].encode()  # that of Python 3's bytes is Python 2's of str, but for the b
