"""What all writers of ONNX graphs share: inputs and outputs, nodes, constants, and the check at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from efq.runtime.errors import UsageError
from efq.toolchain.student import Student


class GraphWriter:
    """Nodes and constants of a graph that takes uint8 `images` (N, H, W, 3) and gives float32 `embeddings` (N, d)."""

    def __init__(self, student: Student) -> None:
        self.name, self.contract = student.backbone, student.contract
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []
        self.images = ir.Value(
            name="images",
            type=ir.TensorType(ir.DataType.UINT8),
            shape=ir.Shape(["batch", self.contract.height, self.contract.width, 3]),
        )
        self.embeddings = ir.Value(
            name="embeddings",
            type=ir.TensorType(ir.DataType.FLOAT),
            shape=ir.Shape(["batch", student.embedding_size]),
        )

    def model(self, *, opset: int, ir_version: int) -> onnx.ModelProto:
        """The finished model, checked by onnx's own checker. Raises UsageError where that finds it wrong."""
        graph = ir.Graph(
            inputs=[self.images],
            outputs=[self.embeddings],
            nodes=self.nodes,
            initializers=self.initializers,
            opset_imports={"": opset},
            name=self.name,
        )
        model = ir.to_proto(ir.Model(graph, ir_version=ir_version, producer_name="efq"))
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            reason = str(error).strip().splitlines()[0]
            message = f"expected layers that ONNX takes in {self.name}, found: {reason}; make the student again"
            raise UsageError(message) from error
        del model.graph.value_info[:]  # every shape and type can be inferred again
        return model

    def constant(self, array: NDArray[Any] | np.generic) -> ir.Value:
        """A new initializer."""
        name = f"c{len(self.initializers)}"
        value = ir.Value(name=name, const_value=ir.tensor(np.asarray(array), name=name))
        value.type = ir.TensorType(value.const_value.dtype)  # type: ignore[union-attr]
        value.shape = ir.Shape(np.asarray(array).shape)
        self.initializers.append(value)
        return value

    def node(self, operator: str, inputs: list[ir.Value], attributes: Mapping[str, Any], name: str = "") -> ir.Value:
        """Add an operator; convolutions and matrix products carry their layer's `name`, which reports show."""
        output = ir.Value(name=f"v{len(self.nodes)}")
        self.nodes.append(ir.node(operator, inputs, dict(attributes), outputs=[output], name=name))
        return output

    def normalize(self, value: ir.Value) -> None:
        """End the graph: float32 `value` (N, d), each row divided by its length, is `embeddings`."""
        attributes = {"axis": 1, "p": 2}
        node = ir.node("LpNormalization", [value], attributes, outputs=[self.embeddings], name="normalization")
        self.nodes.append(node)
