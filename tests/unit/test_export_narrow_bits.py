"""What is said of fewer than 8 bits, target by target."""

from __future__ import annotations

import pytest

from efq.export.narrow_bits import describe_narrow_bits

SIZE, NOTHING, INT8 = "save size, not time", "save neither size nor time", "neither smaller nor faster"
VNNI, CLAMPED = "do not saturate on CPUs without VNNI", "carried and clamped in bytes"


@pytest.mark.parametrize(
    ("weights", "activations", "target", "reduced_range", "expected"),
    [
        (8, 8, "ort-cpu", False, []),
        (8, 8, "trt", False, []),
        (6, 6, "ort-cpu", False, [NOTHING, CLAMPED]),
        (5, 8, "openvino", False, [NOTHING]),
        (4, 8, "ort-cpu", False, [SIZE]),
        (2, 4, "openvino", False, [SIZE, CLAMPED]),
        (7, 8, "ort-cpu", True, [VNNI]),
        (4, 8, "openvino", True, [SIZE, VNNI]),
        (7, 8, "trt", True, [INT8]),
        (4, 8, "trt-rtx", False, [INT8]),
    ],
)
def test_each_target(weights: int, activations: int, target: str, reduced_range: bool, expected: list[str]) -> None:
    bits = {"weights": weights, "activations": activations}
    found = describe_narrow_bits(bits, target, reduced_range=reduced_range)
    assert len(found) == len(expected)
    for sentence, words in zip(found, expected, strict=True):
        assert words in sentence
