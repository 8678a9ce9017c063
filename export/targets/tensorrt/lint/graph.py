"""An ONNX graph as the rules read it: nodes, constants, types and shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from efq.runtime.errors import InputError

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
LARGEST_FLOAT16 = 65504.0
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_QUANTIZER_DOMAINS = STANDARD_DOMAINS | {"com.microsoft"}  # TensorRT's parser takes both
_FOLDABLE = frozenset(
    {
        *("Abs", "Add", "Cast", "Concat", "Constant", "ConstantOfShape", "Div", "Exp", "Expand", "Flatten", "Gather"),
        *("Identity", "Log", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal", "Reshape", "Slice", "Sqrt", "Squeeze"),
        *("Sub", "Transpose", "Unsqueeze"),
    }
)
Array = NDArray[Any]


class Graph:
    """The nodes of a model's main graph, in its order, for one target.

    Local functions are inlined and shapes inferred; the bodies of If, Loop and Scan are not read. `folder` is where
    tensors stored outside the model are looked for. `capabilities` are the compute capabilities an engine is built
    for, (8, 6) for 8.6; empty where none is named. Raises InputError for a model that ONNX cannot read.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        *,
        folder: Path | None = None,
        target: str = "trt-rtx",
        capabilities: frozenset[tuple[int, int]] = frozenset(),
    ) -> None:
        self.folder, self.target, self.capabilities = folder, target, capabilities
        self._constants: dict[ir.Value, Array | None] = {}
        graph = _read(model)
        ir.external_data.set_base_dir(graph, folder or "")
        self.opset: int = max((graph.opset_imports.get(domain, 0) for domain in STANDARD_DOMAINS), default=0)
        self.inputs: tuple[ir.Value, ...] = tuple(value for value in graph.inputs if not value.is_initializer())
        self.initializers: tuple[ir.Value, ...] = tuple(graph.initializers.values())
        self.nodes: tuple[ir.Node, ...] = tuple(graph)
        self._activations = self._follow(self.inputs)

    def _follow(self, values: tuple[ir.Value, ...]) -> frozenset[ir.Value]:
        found = set(values)
        for node in self.nodes:
            if found.intersection(value for value in node.inputs if value is not None):
                found.update(node.outputs)
        return frozenset(found)

    def of_type(self, *operators: str) -> Iterator[ir.Node]:
        """The nodes of these operators of the standard domain (QuantizeLinear and DequantizeLinear: of Microsoft's)."""
        return (node for node in self.nodes if is_a(node, *operators))

    def is_activation(self, value: ir.Value) -> bool:
        """Whether `value` depends on an input of the graph; weights and other constants do not."""
        return value in self._activations

    def constant(self, value: ir.Value | None) -> Array | None:
        """The array of an initializer, or of constants put through arithmetic that TensorRT folds; else None."""
        if value is None:
            return None
        if value not in self._constants:
            self._constants[value] = self._evaluate(value)
        return self._constants[value]

    def _evaluate(self, value: ir.Value) -> Array | None:
        if value.const_value is not None:
            return np.asarray(value.const_value.numpy())
        node = value.producer()
        if node is None or not is_a(node, *_FOLDABLE):
            return None
        inputs = [self.constant(operand) for operand in node.inputs if operand is not None]
        if len(inputs) < len(node.inputs) or any(array is None for array in inputs):
            return None
        evaluator = ReferenceEvaluator(ir.to_proto(node), opsets={"": self.opset})
        names = [str(operand.name) for operand in node.inputs if operand is not None]
        try:
            with np.errstate(all="ignore"):
                outputs: Any = evaluator.run(None, dict(zip(names, inputs, strict=True)))
        except Exception:  # the reference evaluator raises whatever numpy does: then nothing folds it either
            return None
        return np.asarray(outputs[0])

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        """The element type of `value`.

        Behind DequantizeLinear it is the scale's, whatever the opset; behind QuantizeLinear the zero point's, else
        output_dtype, else uint8 (ONNX operator QuantizeLinear).
        """
        node = value.producer()
        if node is not None and is_a(node, DEQUANTIZE) and (scale := operand(node, 1)) is not None:
            return self.dtype(scale)
        if node is not None and is_a(node, QUANTIZE):
            zero_point = operand(node, 2)
            written = node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8
            return self.dtype(zero_point) if zero_point is not None else ir.DataType(written)
        if value.const_value is not None:
            return value.const_value.dtype
        return value.dtype

    def shape(self, value: ir.Value) -> tuple[int | None, ...] | None:
        """The dimensions of `value`, None for one that is not fixed, or None where nothing is known."""
        shape = value.const_value.shape if value.const_value is not None else value.shape
        if shape is None:
            return None
        return tuple(size if isinstance(size, int) else None for size in shape)


def is_a(node: ir.Node, *operators: str) -> bool:
    """Whether `node` is one of `operators` of the standard domain (or Microsoft's, for Q and DQ)."""
    domains = _QUANTIZER_DOMAINS if node.op_type in (QUANTIZE, DEQUANTIZE) else STANDARD_DOMAINS
    return node.op_type in operators and node.domain in domains


def name_of(node: ir.Node) -> str:
    """The node's name, or its operator and first output where it has none."""
    return node.name or f"{node.op_type} of {node.outputs[0].name}"


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """Input `index` of `node`; None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def read_model(path: Path) -> onnx.ModelProto:
    """The model in `path`, tensors stored outside it not loaded.

    Raises InputError when the file is missing or is no ONNX model.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # onnx and protobuf have no common base class of their errors
        message = f"expected an ONNX model in {path}; found none ({error}); export the model again"
        raise InputError(message) from error
    if not model.HasField("graph") or not model.graph.node:
        message = f"expected an ONNX model in {path}; found a file without a graph; export the model again"
        raise InputError(message)
    return model


def _read(model: onnx.ModelProto) -> ir.Graph:
    """The main graph of `model`, its local functions inlined and its shapes inferred where ONNX can."""
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        return ir.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True)).graph
    except Exception as error:  # onnx, onnx_ir and protobuf have no common base class of their errors
        message = f"expected a valid ONNX graph; found one that cannot be read ({error}); export the model again"
        raise InputError(message) from error
