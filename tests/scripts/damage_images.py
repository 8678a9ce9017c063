"""Damage JPEG files of faces in many ways: `python tests/scripts/damage_images.py ARTIFACT FACES --count 25 --seed 0`.

FACES is a folder of aligned faces. For each kind of damage and of JPEG: how many were refused, and of those that were
read the lowest cosine of the embedding to that of the whole image. Not in one of them may it be below 0.5 (exit 1).
"""

from __future__ import annotations

import argparse
import collections
import io
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from efq.runtime import EfqError, Embedder, decode_image
from efq.runtime.faces.images import find_images

LEAST_COSINE = 0.5
TRIALS = 3
FORMS: Mapping[str, dict[str, Any]] = {
    "progressive": {"quality": 90, "progressive": True},
    "4:4:4": {"quality": 95, "subsampling": 0},
    "optimized": {"quality": 85, "optimize": True},
    "restarts": {"quality": 90, "restart_marker_blocks": 7},
}
Damage = Callable[[bytes, int, random.Random], bytes]


def overwritten(filling: Callable[[random.Random], bytes]) -> Damage:
    """Bytes in place of others."""

    def damage(data: bytes, place: int, draw: random.Random) -> bytes:
        new = filling(draw)
        return data[:place] + new + data[place + len(new) :]

    return damage


DAMAGES: Mapping[str, Damage] = {
    "a bit changed": lambda data, place, draw: (
        data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
    ),
    "16 zeros": overwritten(lambda draw: bytes(16)),
    "300 zeros": overwritten(lambda draw: bytes(300)),
    "300 ones": overwritten(lambda draw: b"\xff" * 300),
    "60 bytes overwritten": overwritten(lambda draw: draw.randbytes(60)),
    "300 bytes overwritten": overwritten(lambda draw: draw.randbytes(300)),
    "600 bytes lost": lambda data, place, draw: data[:place] + data[place + 600 :],
    "100 bytes exchanged": lambda data, place, draw: (
        data[:place] + data[place + 100 : place + 200] + data[place : place + 100] + data[place + 200 :]
    ),
    "cut and closed": lambda data, place, draw: data[:place] + b"\xff\xd9",
    "zeros to the end": lambda data, place, draw: data[:place] + bytes(len(data) - place - 2) + b"\xff\xd9",
}


def forms_of(data: bytes) -> Mapping[str, bytes]:
    """The file as it is, and its picture in other kinds of JPEG."""
    forms = {"as it is": data}
    for name, options in FORMS.items():
        buffer = io.BytesIO()
        Image.open(io.BytesIO(data)).convert("RGB").save(buffer, "JPEG", **options)
        forms[name] = buffer.getvalue()
    return forms


def main() -> None:
    """Damage, count, print; exit 1 where an image passed that is another face."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    draw = random.Random(arguments.seed)
    paths = draw.sample(find_images(arguments.faces, (".jpg",)), arguments.count)
    cosines: dict[tuple[str, str], list[float | None]] = collections.defaultdict(list)
    with Embedder.open(arguments.artifact, threads=1, backend="onnxruntime") as embedder:
        for form, data in (item for path in paths for item in forms_of(path.read_bytes()).items()):
            whole = embedder.embed(decode_image(data, name="whole")[None])[0]
            start = data.index(b"\xff\xda") + 14
            for name, damage in DAMAGES.items():
                for _ in range(TRIALS):
                    damaged = damage(data, draw.randrange(start, max(start + 1, len(data) - 620)), draw)
                    try:
                        image = decode_image(damaged, name="damaged")
                        cosine: float | None = float(embedder.embed(image[None])[0] @ whole)
                    except EfqError:
                        cosine = None
                    cosines[name, form].append(cosine)
    for (name, form), found in cosines.items():
        read = [cosine for cosine in found if cosine is not None]
        print(f"{name:22} {form:12} {len(found) - len(read):4} of {len(found)} refused, {min(read, default=1):.2f}")
    everything = [cosine for found in cosines.values() for cosine in found]
    read = [cosine for cosine in everything if cosine is not None]
    near = np.mean(np.array(read) > 0.9)
    print(f"{len(everything) - len(read):,} of {len(everything):,} refused; {near:.1%} of the others above 0.9")
    raise SystemExit(min(read, default=1) < LEAST_COSINE)


if __name__ == "__main__":
    main()
