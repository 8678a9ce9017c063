"""The probe: an image with its expected embedding, by which a network is found to be served as it was exported.

Other colors, pixels that were normalized twice, a mirrored image, changed weights or a broken kernel still give an
embedding, that of a stranger. That of one image which was embedded at export tells
(docs/decisions/0055-a-probe-in-every-artifact.md).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from efq.runtime.arguments import number
from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.schema import FileSchema
from efq.runtime.errors import InputError, ProbeError, SchemaError
from efq.runtime.probe.png import decode_png, encode_png

PROBE_IMAGE_FILE = "probe.png"
PROBE_FILE = "probe.json"

LEAST_COSINE = 0.98
"""Between runtimes and machines that round otherwise; an exact target says more. No fault gave more than 0.96."""

_DIGITS = 8
_SCHEMA = FileSchema(file=PROBE_FILE, version=1, remedy="export the model again with efq-export")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """An image and what the network of an artifact makes of it.

    image: uint8 (H, W, 3), RGB, of the contract's size; drawn, nobody's face. embedding: float32 (d,), of unit length.
    least_cosine: below which the network, its input or its arithmetic is another.
    """

    image: NDArray[np.uint8]
    embedding: NDArray[np.float32]
    least_cosine: float = LEAST_COSINE

    def check(self, embedding: ArrayLike, *, where: str = "your pipeline", least_cosine: float | None = None) -> float:
        """The cosine of `embedding`, (d,) or (1, d) of any length, which `where` gave for `image`, to the expected one.

        Raises InputError for anything but d finite numbers, ProbeError for a cosine below `least_cosine`, None for the
        probe's own.
        """
        try:
            found = np.asarray(embedding, np.float64).ravel()
        except (TypeError, ValueError):
            found = np.empty(0)
        length = float(np.linalg.norm(found)) if found.size == self.embedding.size else 0.0
        if not 0 < length < np.inf:
            message = (
                f"expected an embedding of the probe image from {where}, {self.embedding.size} finite numbers that are "
                f"not all zero, found {repr(embedding)[:100]}"
            )
            raise InputError(message)
        cosine = float(found @ self.embedding.astype(np.float64)) / length
        least = self.least_cosine if least_cosine is None else number(least_cosine, "a cosine", least=-1, most=1)
        if not cosine >= least:
            message = (
                f"expected for the probe image from {where} the embedding it had at export, a cosine of at least "
                f"{least:g}, found {cosine:.4f}: the image is fed otherwise (colors exchanged, normalized twice, "
                "mirrored), or the model, its runtime or a driver computes something else. Embeddings of it cannot be "
                "compared with others: export again, or serve it by another runtime"
            )
            raise ProbeError(message)
        return cosine

    def files(self) -> dict[str, bytes]:
        """The content of the probe's files, by name."""
        values = [float(f"{value:.{_DIGITS}g}") for value in self.embedding]
        return {
            PROBE_IMAGE_FILE: encode_png(self.image),
            PROBE_FILE: (json.dumps({"embedding": values}) + "\n").encode(),
        }

    def record(self) -> dict[str, Any]:
        """The group `probe` of a manifest."""
        return {"least_cosine": self.least_cosine}

    @classmethod
    def from_files(
        cls, image: bytes, text: str, record: Mapping[str, Any], contract: InputContract, embedding_size: int
    ) -> Self:
        """From the content of the files, and a manifest's group. Raises SchemaError for what is not such a probe."""
        pixels = decode_png(image, name=PROBE_IMAGE_FILE)
        if pixels.shape != (contract.height, contract.width, 3):
            message = (
                f"expected {PROBE_IMAGE_FILE} of {contract.height}x{contract.width} pixels (height x width), found "
                f"{pixels.shape[0]}x{pixels.shape[1]}; {_SCHEMA.remedy}"
            )
            raise SchemaError(message)
        values = _SCHEMA.parse(text)
        _SCHEMA.expect_keys(PROBE_FILE, set(values), {"embedding"})
        numbers = values["embedding"]
        fits = isinstance(numbers, list) and len(numbers) == embedding_size
        fits = fits and all(type(number) in (int, float) and abs(number) <= 1 for number in numbers)
        _SCHEMA.expect(fits, "embedding", f"{embedding_size} numbers from -1 to 1", numbers)
        embedding = np.array(numbers, np.float32)
        length = float(np.linalg.norm(embedding))
        _SCHEMA.expect(abs(length - 1) < 1e-3, "embedding", "numbers of unit length together", length)
        return cls(image=pixels, embedding=embedding, least_cosine=float(record["least_cosine"]))


def check_probe_record(record: Mapping[str, Any], schema: FileSchema) -> None:
    """Check the group `probe` of a manifest. Raises SchemaError."""
    schema.expect_keys(f"probe of {schema.file}", set(record), {"least_cosine"})
    schema.expect_between("probe.least_cosine", record["least_cosine"], 0, 1)
