"""Whether 8-bit products saturate in ONNX Runtime's kernels on this CPU.

x86 without VNNI multiplies uint8 by int8 in pairs and adds the two products in 16 bits, saturating (VPMADDUBSW; Intel's
Software Developer's Manual, volume 2): two products of 255 * 127 make 32,767 instead of 64,770. Two products of a byte
and a 7-bit weight, 2 * 255 * 63 = 32,130 at most, always fit.

The kernels are asked instead of the CPU's flags: that holds on every system, under emulation, and on other processors.
"""

from __future__ import annotations

import functools

import numpy as np

from efq.runtime.backends.onnxruntime_module import import_onnxruntime

LARGEST_LEVEL, LARGEST_WEIGHT, TERMS = 255, 127, 4

# An ONNX model: levels uint8 (1, 4), MatMulInteger by four weights of 127, sums int32 (1, 1).
PROBE = (
    b'\x08\x04\x12\x00:}\n&\n\x06levels\n\x07weights\x12\x04sums"\rMatMulInteger\x12\nsaturation*\x15\x08\x04\x08\x01'
    b"\x10\x03B\x07weightsJ\x04\x7f\x7f\x7f\x7fZ\x18\n\x06levels\x12\x0e\n\x0c\x08\x02\x12\x08\n\x02\x08\x01\n\x02\x08"
    b"\x04b\x16\n\x04sums\x12\x0e\n\x0c\x08\x06\x12\x08\n\x02\x08\x01\n\x02\x08\x01B\x04\n\x00\x10\n"
)


@functools.cache
def products_saturate() -> bool:
    """Whether the sum of the largest products is not exact. Takes a few milliseconds, once a process."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(PROBE, options, providers=["CPUExecutionProvider"])
    levels = np.full((1, TERMS), LARGEST_LEVEL, np.uint8)
    (sums,) = session.run(None, {"levels": levels})
    return int(np.asarray(sums).item()) != TERMS * LARGEST_LEVEL * LARGEST_WEIGHT
