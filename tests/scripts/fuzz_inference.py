"""Damage messages of the Open Inference Protocol: `python tests/scripts/fuzz_inference.py --count 20000 --seed 0`.

Requests and responses in JSON and in binary, and servers' metadata. Each has to be read as what it has to be, or be
refused by InputError in words, with no more memory than its own size asks for. What does not hold is printed with its
seed; the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import random
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tests_folder  # noqa: F401
from counting import print_counts

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError
from efq.runtime.faces.interface import USUAL
from efq.runtime.gallery.record import EmbeddingModel
from efq.runtime.open_inference.messages import (
    HEADER_LENGTH,
    InferRequest,
    Message,
    read_object,
    read_request,
    read_response,
    write_request,
    write_response,
)
from efq.runtime.open_inference.metadata import ModelMetadata, ServedModel, ServerMetadata
from efq.runtime.open_inference.tensors import TensorSpec

KINDS = ("request", "binary request", "response", "binary response", "metadata")
MOST_MEMORY = 8 * 2**20

_IMAGES = TensorSpec(name="images", datatype="UINT8", shape=(None, 4, 4, 3), most_bytes=4 * 48)
_ROWS = TensorSpec(name="embeddings", datatype="FP32", shape=(2, 8), most_bytes=64)
_WORDS = (
    *(b"null", b"-1", b"0", b"1e999", b"NaN", b"99999999999999999999", b"true", b"[]", b"{}", b'""', b"[[", b"\\ud800"),
    *(b'"shape":[2,4,4,3],', b'"data":[1],', b'"binary_data_size":96', b'"FP64"', b'"BYTES"', b"9223372036854775807"),
)


def sound(kind: str) -> tuple[bytes, str | None, Callable[[bytes, str | None], Any]]:
    """A message of one of `KINDS`: its body, the length of its header, and what reads it and checks what is read."""
    generator = np.random.default_rng(0)
    binary = kind.startswith("binary")
    if kind.endswith("request"):
        images = generator.integers(0, 256, (2, 4, 4, 3), np.uint8)
        message = write_request(images, input_name="images", output_name="embeddings", binary=binary)
        return message.body, message.headers.get(HEADER_LENGTH), _read_request
    if kind.endswith("response"):
        rows = generator.normal(size=(2, 8)).astype(np.float32)
        asked = InferRequest(images=rows, id="7", binary=binary)
        message = write_response(rows, asked, output_name="embeddings", model="m", version="1", parameters={"a": 1})
        return message.body, message.headers.get(HEADER_LENGTH), _read_response
    model = EmbeddingModel(sha256="0" * 64, name="m", embedding_size=8)
    served = ServedModel(contract=InputContract(), interface=USUAL, model=model)
    server = ServerMetadata(name="efq", version="1", extensions=("binary_tensor_data",), models=("m",)).to_dict()
    return Message.of(server | served.metadata("m").to_dict()).body, None, _read_metadata


def _read_request(body: bytes, length: str | None) -> None:
    found = read_request(body, length, spec=_IMAGES, output_name="embeddings").images
    assert found.dtype == np.uint8
    assert found.shape[1:] == (4, 4, 3)
    assert 0 < len(found) <= 4


def _read_response(body: bytes, length: str | None) -> None:
    found = read_response(body, length, spec=_ROWS).embeddings
    assert found.dtype == np.float32
    assert found.shape == (2, 8)
    assert np.isfinite(found).all()


def _read_metadata(body: bytes, length: str | None) -> None:
    values = read_object(body, "metadata")
    ServerMetadata.parse(values)
    found = ModelMetadata.parse(values)
    assert found.inputs
    ServedModel.parse(found)


def mutated(content: bytes, draw: random.Random) -> bytes:
    """With bytes changed, cut out, doubled or put in, and words of JSON among them."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = draw.randrange(len(found) + 1)
        kind = draw.randrange(5)
        if kind == 0 and at < len(found):
            found[at] = draw.randrange(256)
        elif kind == 1:
            del found[at : at + draw.choice((1, 5, 60))]
        elif kind == 2:
            found[at:at] = found[at : at + draw.choice((1, 5, 60))] * draw.choice((1, 1, 100))
        elif kind == 3:
            found[at:at] = bytes(draw.randrange(256) for _ in range(4))
        else:
            word = draw.choice(_WORDS)
            found[at : at + draw.choice((0, 1, len(word)))] = word
    return bytes(found)


def cases(kind: str, count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Each case's name, and what came of it: "read", "refused", or what did not hold, after "HOLE"."""
    body, length, read = sound(kind)
    read(body, length)
    for place in range(count):
        name = f"{kind}/{seed}/{place}"
        draw = random.Random(name)
        yield name, _outcome(read, mutated(body, draw), _length(length, draw))


def _length(length: str | None, draw: random.Random) -> str | None:
    if draw.random() < 0.9:
        return length
    return draw.choice((None, "0", "1", "-5", "60", "99999999999999999999", "x", length))


def _outcome(read: Callable[[bytes, str | None], None], body: bytes, length: str | None) -> str:
    tracemalloc.start()
    try:
        read(body, length)
        outcome = "read"
    except InputError as error:
        outcome = "refused" if "expected" in str(error) and len(str(error)) < 1000 else f"HOLE: {error}"
    except Exception as error:
        outcome = f"HOLE: {error!r}"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return outcome if peak < MOST_MEMORY else f"HOLE: {peak:,} bytes of memory"


def main() -> int:
    """Count; 1 for a hole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="Of each kind.")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    for kind in KINDS:
        for name, outcome in cases(kind, chosen.count, chosen.seed):
            if outcome.startswith("HOLE"):
                print(name, outcome, flush=True)
            counts[f"{kind}: {outcome.partition(':')[0]}"] += 1
    print_counts(counts)
    return int(any("HOLE" in outcome for outcome in counts))


if __name__ == "__main__":
    raise SystemExit(main())
