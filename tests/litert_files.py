"""A .tflite file of a tiny student, and what becomes of it by chance or by intent."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from networks import NETWORKS, make_student, randomize

from efq.export import find_target
from efq.export.targets.litert.flatbuffer_file import IDENTIFIER, schema
from efq.export.targets.litert.target import litert_file

PATH = Path("model.tflite")

_NUMBERS = (0, 1, -1, 2, 4, 127, 128, 255, 256, 2**15, 2**16, 2**24, 2**31 - 1, -(2**31))


def tiny_file(name: str = "bottleneck", **recipe: Any) -> bytes:
    """What EFQ writes of a network of tests/networks.py."""
    model = find_target("litert").write(make_student(randomize(NETWORKS[name]()), **recipe))
    return litert_file(model.SerializeToString(), PATH)


def changed(content: bytes, change: Callable[[Any, Any], None]) -> bytes:
    """The file after `change` of its model and graph, in LiteRT's own classes."""
    import flatbuffers

    model = schema().ModelT.InitFromPackedBuf(content, 0)
    change(model, model.subgraphs[0])
    builder = flatbuffers.Builder(2**16)
    _align(model)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _align(model: Any) -> None:
    from efq.export.targets.litert.flatbuffer_file import AlignedBuffer

    for buffer in model.buffers:
        if isinstance(buffer.data, np.ndarray) and buffer.data.dtype == np.uint8:
            buffer.Pack = AlignedBuffer(schema(), buffer.data).pack


def mutated(content: bytes, draw: random.Random) -> bytes:
    """With some bytes changed, more of them where offsets and small numbers are, or cut off."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(found) // 4) * 4
        match draw.randrange(5):
            case 0:
                found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
            case 1:
                struct.pack_into("<i", found, place, draw.choice(_NUMBERS))
            case 2:
                (number,) = struct.unpack_from("<i", found, place)
                struct.pack_into("<i", found, place, (number + draw.choice((-4, -1, 1, 4, 16))) % 2**31)
            case 3:
                struct.pack_into("<H", found, place, draw.randrange(64))
            case _:
                other = draw.randrange(len(found) // 4) * 4
                found[place : place + 4] = found[other : other + 4]
    if draw.random() < 0.05:
        del found[draw.randrange(len(found)) :]
    return bytes(found)
