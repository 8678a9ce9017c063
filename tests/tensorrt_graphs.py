"""Small Q/DQ graphs, node by node, for the tests of the TensorRT lint."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike, NDArray
from onnx import helper, numpy_helper

INT4 = ml_dtypes.int4
SCALE = 0.05
ZERO = np.int8(0)


class GraphBuilder:
    """Writes nodes in order; every method returns the name of the tensor it makes.

    A node `name` gives the tensor `name.out`; the parts of a quantizer or weight are `name.quantize` and
    `name.dequantize`. `dtype` is the type of scales, biases and, unless given, of the input `x`.
    """

    def __init__(
        self,
        *,
        dtype: DTypeLike = np.float16,
        shape: list[int | str] | None = None,
        input_dtype: DTypeLike | None = None,
        opset: int = 21,
    ) -> None:
        self.dtype, self.opset = np.dtype(dtype), opset
        self.random = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.input("x", shape or ["batch", 16, 8, 8], input_dtype or dtype)

    def input(self, name: str, shape: list[int | str], dtype: DTypeLike) -> str:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, values: ArrayLike | NDArray[Any], dtype: DTypeLike | None = None, *, name: str = "") -> str:
        """An initializer, in the graph's float type where `values` are Python numbers and no other is given."""
        kind = dtype or (values.dtype if isinstance(values, np.ndarray | np.generic) else self.dtype)
        name = name or f"constant{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype=kind), name))
        return name

    def add(self, operator: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        name = name or f"{operator.lower()}{len(self.nodes)}"
        node = helper.make_node(operator, list(inputs), [f"{name}.out"], name=name, domain=domain, **attributes)
        self.nodes.append(node)
        return f"{name}.out"

    def scale(self, scale: Any) -> str:
        return scale if isinstance(scale, str) else self.constant(scale)

    def zero_points(self, zero_point: Any) -> list[str]:
        """The third input of a quantizer: none for None, a tensor's name, or an array."""
        if zero_point is None:
            return []
        return [zero_point if isinstance(zero_point, str) else self.constant(np.asarray(zero_point))]

    def quantize(self, value: str, name: str, scale: Any = SCALE, zero_point: Any = ZERO, **kwargs: Any) -> str:
        operands = [value, self.scale(scale), *self.zero_points(zero_point)]
        return self.add("QuantizeLinear", *operands, name=f"{name}.quantize", **kwargs)

    def dequantize(self, value: str, name: str, scale: Any = SCALE, zero_point: Any = ZERO, **kwargs: Any) -> str:
        operands = [value, self.scale(scale), *self.zero_points(zero_point)]
        return self.add("DequantizeLinear", *operands, name=f"{name}.dequantize", **kwargs)

    def qdq(self, value: str, name: str, scale: Any = SCALE, zero_point: Any = ZERO, **kwargs: Any) -> str:
        quantized = self.quantize(value, name, scale, zero_point, **kwargs)
        return self.dequantize(quantized, name, scale, zero_point, **kwargs)

    def integers(self, shape: tuple[int, ...], dtype: DTypeLike = np.int8) -> str:
        return self.constant(self.random.integers(-7, 8, shape).astype(dtype))

    def weight(
        self,
        shape: tuple[int, ...] = (16, 16, 3, 3),
        *,
        name: str = "weight",
        axis: int = 0,
        dtype: DTypeLike = np.int8,
        scale: Any = None,
        zero_point: Any = None,
    ) -> str:
        """Integers behind DequantizeLinear, a scale for each index of `axis` unless `scale` says otherwise."""
        given = np.full(shape[axis], 0.01, self.dtype) if scale is None else scale
        return self.dequantize(self.integers(shape, dtype), name, given, zero_point, axis=axis)

    def blocked(self, shape: tuple[int, ...], *, axis: int, size: int, dtype: DTypeLike = INT4) -> str:
        """A weight with a scale for each `size` integers along `axis`."""
        blocks = list(shape)
        blocks[axis] //= size
        scale = np.full(blocks, 0.01, self.dtype)
        return self.dequantize(self.integers(shape, dtype), "weight", scale, None, axis=axis, block_size=size)

    def floats(self, shape: tuple[int, ...]) -> str:
        return self.constant(self.random.normal(0, 0.1, shape).astype(self.dtype))

    def bias(self, size: int) -> str:
        return self.constant(np.full(size, 0.1, self.dtype))

    def conv(
        self, value: str, name: str = "conv", *, weight: str = "", bias: str = "", channels: int = 16, **attributes: Any
    ) -> str:
        """A 3x3 convolution with float bias; its weight is `name_weight.dequantize` unless given."""
        weight = weight or self.weight((channels, channels, 3, 3), name=f"{name}_weight")
        bias = bias or self.bias(channels)
        return self.add("Conv", value, weight, bias, name=name, pads=[1, 1, 1, 1], **attributes)

    def flatten(self, value: str) -> str:
        return self.add("Flatten", value, axis=1)

    def gemm(self, value: str, weight: str = "", name: str = "gemm", *, outputs: int = 32, transB: int = 1) -> str:  # noqa: N803
        """A Gemm with float bias over 1024 values."""
        weight = weight or self.weight((outputs, 1024), name=f"{name}_weight")
        return self.add("Gemm", value, weight, self.bias(outputs), name=name, transB=transB)

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "graph", self.inputs, [onnx.ValueInfoProto(name=name) for name in outputs], self.initializers
        )
        domains = sorted({node.domain for node in self.nodes} - {""})
        imports = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=10)
        for output, inferred in zip(
            model.graph.output, onnx.shape_inference.infer_shapes(model).graph.output, strict=True
        ):
            known = inferred.type.tensor_type.elem_type or helper.np_dtype_to_tensor_dtype(self.dtype)
            output.type.tensor_type.elem_type = known
        return model


def exported(*, seed: int = 0, blocks: int = 2, activation: str = "PRelu") -> onnx.ModelProto:
    """A residual network as EFQ exports it: uint8 NHWC image, int8 kernels, float16 between, float32 embedding."""
    build = GraphBuilder(input_dtype=np.uint8, shape=["batch", 8, 8, 3])
    build.random = np.random.default_rng(seed)
    pixels = build.add("Transpose", build.add("Cast", "x", to=onnx.TensorProto.FLOAT16), perm=[0, 3, 1, 2])
    value = build.qdq(build.add("Sub", pixels, build.constant(np.float16(127.5))), "image", 1.0)
    weight = build.weight((16, 3, 3, 3), name="stem_weight")
    value = _activate(build, build.conv(value, "stem", weight=weight), "stem_act", activation)
    for index in range(blocks):
        name, scale = f"block{index}", float(build.random.uniform(0.01, 0.1))
        shared = build.qdq(value, f"{name}_data", scale)
        inner = _activate(build, build.conv(shared, f"{name}_conv1"), f"{name}_act", activation)
        branch = build.conv(build.qdq(inner, f"{name}_inner", scale * 1.5), f"{name}_conv2")
        value = build.add("Add", branch, shared, name=f"{name}_add")
    weight = build.weight((16, 1, 8, 8), name="pool_weight")
    value = build.add("Conv", build.qdq(value, "pool_data"), weight, build.bias(16), name="pool", group=16)
    weight = build.weight((32, 16), name="embedding_weight")
    value = build.gemm(build.qdq(build.flatten(value), "embedding_data"), weight, "embedding")
    value = build.add("Cast", value, to=onnx.TensorProto.FLOAT)
    return build.model(build.add("LpNormalization", value, axis=1, p=2))


def _activate(build: GraphBuilder, value: str, name: str, activation: str) -> str:
    if activation == "PRelu":
        return build.add("PRelu", value, build.constant(np.full((16, 1, 1), 0.2, np.float16)), name=name)
    return build.add(activation, value, name=name)
