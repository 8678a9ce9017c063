"""The float teacher as a graph for TensorRT: images as bytes in, unit-length embeddings out, like an artifact's."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from efq.runtime.artifact.contract import InputContract
from efq.runtime.backends.model import INPUT_NAME, OUTPUT_NAME

Precision = Literal["float16", "float32"]

_NORMALIZED, _RAW = "normalized_images", "raw_embeddings"


def engine_graph(
    network: onnx.ModelProto,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    contract: InputContract,
    precision: Precision,
) -> onnx.ModelProto:
    """`network`, float32 (N, 3, H, W) -> (N, d), from uint8 (N, H, W, 3) images to float32 (N, d) of unit length.

    TensorRT's networks are strongly typed, so for "float16" the graph itself is: every weight and tensor of the
    network, by ONNX Runtime's converter. The normalization before it and the embedding's length stay float32, as in
    an artifact, whose input and output the graph has: engines of both are fed and read by the same code.
    """
    model = _in_float16(network) if precision == "float16" else _copy(network)
    graph = model.graph
    size = next(dimension.dim_value for dimension in graph.output[0].type.tensor_type.shape.dim[1:])
    for node in graph.node:
        node.input[:] = [_NORMALIZED if name == graph.input[0].name else name for name in node.input]
        node.output[:] = [_RAW if name == graph.output[0].name else name for name in node.output]
    nodes = [*_normalization(precision), *graph.node, *_unit_length()]
    constants = [*graph.initializer, _row("mean", mean), _row("std", std)]
    images = [contract.height, contract.width, 3]
    finished = helper.make_model(
        helper.make_graph(
            nodes,
            f"teacher_{precision}",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", *images])],
            [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", size])],
            constants,
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    onnx.checker.check_model(finished, full_check=True)
    return finished


def _normalization(precision: Precision) -> list[onnx.NodeProto]:
    """(pixel - mean) / std in float32, channels first, in the type of the network."""
    channels_first = _NORMALIZED if precision == "float32" else "channels_first"
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["pixels"], "pixels", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels", "mean"], ["centred"], "subtract_mean"),
        helper.make_node("Div", ["centred", "std"], ["scaled"], "divide_by_std"),
        helper.make_node("Transpose", ["scaled"], [channels_first], "channels_first", perm=[0, 3, 1, 2]),
    ]
    if precision == "float16":
        nodes.append(helper.make_node("Cast", [channels_first], [_NORMALIZED], "to_half", to=TensorProto.FLOAT16))
    return nodes


def _unit_length() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [_RAW], ["embedding"], "to_float", to=TensorProto.FLOAT),
        helper.make_node("LpNormalization", ["embedding"], [OUTPUT_NAME], "normalization", axis=1, p=2),
    ]


def _row(name: str, values: Sequence[float]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with every float32 tensor in float16; what float16 cannot hold is clipped to its range."""
    converter = _import_converter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one for each weight that is clipped
        converted: onnx.ModelProto = converter.convert_float_to_float16(_copy(model))
    return converted


def _import_converter() -> Any:
    """ONNX Runtime's module, which is not typed."""
    import onnxruntime.transformers.float16 as converter

    return converter
