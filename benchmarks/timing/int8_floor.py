"""How many 8-bit multiply-adds one core does in a nanosecond, measured by the best of a few convolutions.

A convolution of many channels on a small map does little else than multiply: its weights and image stay in the caches
and each is used hundreds of times. It runs in ONNX Runtime's own kernel, so the figure is what a kernel reaches here,
not a datasheet's; docs/performance.md has the same figure from bare instructions.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from efq.runtime.backends.onnxruntime_module import import_onnxruntime

REPEATS = 60


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A convolution uint8 x int8: `channels` in, `outputs` out, `size` x `size` positions, `kernel` x `kernel`."""

    channels: int
    outputs: int
    size: int
    kernel: int

    @property
    def multiply_adds(self) -> int:
        """For one image."""
        return self.channels * self.outputs * self.size**2 * self.kernel**2

    def __str__(self) -> str:
        return f"{self.kernel}x{self.kernel} convolution, {self.channels} -> {self.outputs}, {self.size}x{self.size}"


SHAPES = (
    Shape(channels=256, outputs=256, size=14, kernel=3),
    Shape(channels=128, outputs=128, size=28, kernel=3),
    Shape(channels=2048, outputs=512, size=14, kernel=1),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Int8Floor:
    """`multiply_adds_per_ns`: of the fastest run of `kernel` on one thread."""

    multiply_adds_per_ns: float
    kernel: str

    def milliseconds(self, multiply_adds: int) -> float:
        """The least time of so many multiply-adds."""
        return multiply_adds / self.multiply_adds_per_ns / 1e6


def measure_floor(shapes: tuple[Shape, ...] = SHAPES, repeats: int = REPEATS) -> Int8Floor:
    """Run each convolution `repeats` times on one thread; the fastest run of all counts."""
    rates = {str(shape): shape.multiply_adds / _best_ns(shape, repeats) for shape in shapes}
    best = max(rates, key=lambda kernel: rates[kernel])
    return Int8Floor(multiply_adds_per_ns=rates[best], kernel=f"{best}, ONNX Runtime QLinearConv")


def _best_ns(shape: Shape, repeats: int) -> int:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(_model(shape), options, providers=["CPUExecutionProvider"])
    levels = np.random.default_rng(0).integers(0, 256, (1, shape.size, shape.size, shape.channels), np.uint8)
    times = []
    for _ in range(repeats):
        start = time.perf_counter_ns()
        session.run(None, {"levels": levels})
        times.append(time.perf_counter_ns() - start)
    return min(times)


def _model(shape: Shape) -> bytes:
    """Channels last outside, as ONNX Runtime's integer convolutions want them: its transposes fall away."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(1).integers(-127, 128, (shape.outputs, shape.channels, shape.kernel, shape.kernel))
    constants = {
        "scale": np.float32(0.05),
        "zero": np.uint8(128),
        "weights": weights.astype(np.int8),
        "weight_scales": np.full(shape.outputs, 0.01, np.float32),
        "weight_zeros": np.zeros(shape.outputs, np.int8),
    }
    quantized = ["planes", "scale", "zero", "weights", "weight_scales", "weight_zeros", "scale", "zero"]
    nodes = [
        helper.make_node("Transpose", ["levels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("QLinearConv", quantized, ["maps"], pads=[shape.kernel // 2] * 4),
        helper.make_node("Transpose", ["maps"], ["outputs"], perm=[0, 2, 3, 1]),
    ]
    sizes = [1, shape.size, shape.size]
    graph = helper.make_graph(
        nodes,
        "floor",
        [helper.make_tensor_value_info("levels", TensorProto.UINT8, [*sizes, shape.channels])],
        [helper.make_tensor_value_info("outputs", TensorProto.UINT8, [*sizes, shape.outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())
