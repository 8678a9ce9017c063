"""A recognizer for OpenCV's FaceRecognizerSF: NAME.onnx, which OpenCV 4 reads, too.

FaceRecognizerSF feeds pixels from 0 to 255 in RGB, one image, and normalizes what it compares itself. OpenCV 5's engine
runs an artifact's model.onnx as it is; that of OpenCV 4 knows neither bfloat16 nor packed int4 nor LpNormalization, so
constants are stored as they are computed at load, and the last normalization is left to `match`.

Requires: a graph of a target, with any surface. Ensures: the same values before the last normalization; no Cast of, and
no product of, constants.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from efq.export.serving.serve import ServingRequest
from efq.runtime.files import atomic_write_bytes


def write_opencv(request: ServingRequest, folder: Path, force: bool) -> None:
    """Write NAME.onnx into `folder`. Raises UsageError where there is one and not `force`."""
    model = onnx.load_from_string(request.artifact.model_bytes())
    _store_constants(model.graph)
    _leave_out_normalization(model.graph)
    onnx.checker.check_model(model, full_check=True)
    del model.graph.value_info[:]
    atomic_write_bytes(folder / f"{request.name}.onnx", model.SerializeToString(), replace=force)


def _store_constants(graph: onnx.GraphProto) -> None:
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type in ("Cast", "Mul") and all(name in stored for name in node.input):
            operands = [numpy_helper.to_array(stored[name]) for name in node.input]
            stored[node.output[0]] = numpy_helper.from_array(_computed(node, operands), node.output[0])
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensor for name, tensor in stored.items() if name in read)


def _computed(node: onnx.NodeProto, operands: list[NDArray[Any]]) -> NDArray[Any]:
    if node.op_type == "Cast":
        return operands[0].astype(helper.tensor_dtype_to_np_dtype(node.attribute[0].i))
    return np.asarray(functools.reduce(np.multiply, operands))


def _leave_out_normalization(graph: onnx.GraphProto) -> None:
    last = graph.node[-1]
    assert last.op_type == "LpNormalization"
    for node in graph.node:
        node.output[:] = [last.output[0] if name == last.input[0] else name for name in node.output]
    del graph.node[-1]
