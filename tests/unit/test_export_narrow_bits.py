"""What is said of fewer than 8 bits, target by target."""

from __future__ import annotations

import pytest
from artifacts import make_manifest

from efq.export.targets import find_target
from efq.runtime.artifact.manifest import REDUCED_RANGE

SIZE, NOTHING, INT8 = "save size, not time", "save neither size nor time", "neither smaller nor faster"
EXACT, CLAMPED = "with and without VNNI compute the same integers", "carried and clamped in bytes"


@pytest.mark.parametrize(
    ("weights", "activations", "target", "reduced_range", "expected"),
    [
        (8, 8, "ort-cpu", False, []),
        (8, 8, "trt", False, []),
        (6, 6, "ort-cpu", False, [NOTHING, CLAMPED]),
        (6, 8, "ort-cpu", True, [NOTHING, EXACT]),
        (5, 8, "openvino", False, [NOTHING]),
        (4, 8, "ort-cpu", False, [SIZE]),
        (2, 4, "openvino", False, [SIZE, CLAMPED]),
        (7, 8, "ort-cpu", True, [EXACT]),
        (4, 8, "openvino", True, [SIZE, EXACT]),
        (7, 8, "trt", True, [INT8]),
        (4, 8, "trt-rtx", False, [INT8]),
    ],
)
def test_each_target(weights: int, activations: int, target: str, reduced_range: bool, expected: list[str]) -> None:
    bits = {"weights": weights, "activations": activations}
    manifest = make_manifest(target=target, bits=bits, recipe={REDUCED_RANGE: reduced_range})
    found = find_target(target).bit_sentences(manifest)
    assert len(found) == len(expected)
    for sentence, words in zip(found, expected, strict=True):
        assert words in sentence
