"""What OpenVINO itself says it ran: the executed graph, with the precision and the time of every node.

https://docs.openvino.ai/2026/openvino-workflow/running-inference/optimize-inference/precision-control.html names
`get_runtime_model`; each of its nodes carries layerType, runtimePrecision and, with PERF_COUNT, execTimeMcs.
"""

from __future__ import annotations

import importlib.metadata
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from efq.export.coverage.evidence import Evidence, ExecutedNode, TensorFact
from efq.runtime.backends.openvino_core import import_openvino
from efq.runtime.errors import IncompatibleArtifactError, InputError

_DTYPES = {"f32": "float", "f16": "float16", "bf16": "bfloat16", "f64": "double"} | {
    kind + bits: name + bits for kind, name in (("i", "int"), ("u", "uint")) for bits in ("4", "8", "16", "32", "64")
}
_MOVES_BYTES = frozenset(
    {"Concat", "Concatenation", "Gather", "Pad", "Pooling", "Reorder", "Reshape", "StridedSlice", "Transpose"}
)

_FOLDED = ("Const", "Input", "Output")  # no work at run time

_PRODUCTS = {"Convolution": "Conv", "Deconvolution": "ConvTranspose"}  # as `efq.export.coverage.count` names them


def collect_openvino_evidence(model: Path, *, images: np.ndarray, runs: int) -> Evidence:
    """Run `model` on `images` in OpenVINO on one CPU thread, `runs` times after one warm-up; read what was executed.

    Raises MissingDependencyError without openvino, InputError when `images` do not fit the model's only input,
    IncompatibleArtifactError when OpenVINO cannot load or run the model.
    """
    openvino = import_openvino()
    try:
        network = openvino.Core().read_model(str(model))
    except Exception as error:  # OpenVINO's exceptions derive from RuntimeError, with nothing of their own
        message = f"expected a model that OpenVINO can load, found {model}: {error}. Export it again"
        raise IncompatibleArtifactError(message) from error
    _check_images(images, network.inputs, model)
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True}
    try:
        network.reshape(list(images.shape))
        request = openvino.Core().compile_model(network, "CPU", options).create_infer_request()
        times = [_run(request, images) for _ in range(runs + 1)][1:]
        executed = request.get_compiled_model().get_runtime_model()
        operators = {name: node.op_type for node in onnx.load(model).graph.node for name in (node.name, *node.output)}
    except Exception as error:
        message = f"expected {model} to run on images {images.shape} in OpenVINO, found: {error}. Export it again"
        raise IncompatibleArtifactError(message) from error
    return _evidence(executed, times, images, operators, f"openvino {importlib.metadata.version('openvino')} CPU")


def _check_images(images: np.ndarray, inputs: Sequence[Any], model: Path) -> None:
    if len(inputs) != 1:
        message = f"expected a model with one input (images), found {len(inputs)} in {model}"
        raise InputError(message)
    expected, kind = inputs[0].partial_shape, inputs[0].element_type.to_dtype()
    same_rank = len(expected) == images.ndim
    fits = same_rank and all(
        dimension.is_dynamic or dimension.get_length() == size
        for dimension, size in zip(expected, images.shape, strict=True)
    )
    if not fits or images.dtype != kind or not len(images):
        message = (
            f"expected images as {np.dtype(kind).name} of shape {expected} for {model}, found {images.dtype.name} of "
            f"shape {list(images.shape)}. Pass one or more images as the model's input contract says"
        )
        raise InputError(message)


def _run(request: Any, images: np.ndarray) -> dict[str, float]:
    """Microseconds by the name of each executed node."""
    request.infer([images])
    return {info.node_name: info.real_time.total_seconds() * 1e6 for info in request.profiling_info}


def _evidence(
    executed: Any, times: list[dict[str, float]], images: np.ndarray, operators: Mapping[str, str], runtime: str
) -> Evidence:
    tensors: dict[str, TensorFact] = {}
    nodes = []
    graph_input = ""
    for operation in executed.get_ordered_ops():
        layer = str(operation.get_rt_info()["layerType"].astype(str))
        for place, output in enumerate(operation.outputs()):
            dtype = output.get_element_type().get_type_name()
            tensors[f"{operation.get_friendly_name()}:{place}"] = TensorFact(
                dtype=_DTYPES.get(dtype, dtype), shape=tuple(output.get_shape())
            )
        if layer == "Input":
            graph_input = f"{operation.get_friendly_name()}:0"
        if layer not in _FOLDED:
            nodes.append(_node(operation, layer, tensors, times, operators))
    return Evidence(nodes=tuple(nodes), tensors=tensors, graph_input=graph_input, batch=len(images), runtime=runtime)


def _node(
    operation: Any,
    layer: str,
    tensors: dict[str, TensorFact],
    times: list[dict[str, float]],
    operators: Mapping[str, str],
) -> ExecutedNode:
    """`operators`: those of the model by their names and outputs, which OpenVINO calls its layers by."""
    name = operation.get_friendly_name()
    inputs = tuple(_sources(operation))
    if layer == "Convolution":
        _ungroup_weights(inputs[1], operation.get_input_shape(0)[1], tensors)
    return ExecutedNode(
        name=name,
        op_type=_op_type(layer, inputs, tensors, name),
        domain="openvino",
        inputs=inputs,
        outputs=tuple(f"{name}:{place}" for place in range(len(operation.outputs()))),
        attributes={},
        microseconds=statistics.median(run.get(name, 0.0) for run in times),
        operations=tuple(_operations(operation, operators)),
        computes_in_float=layer not in _MOVES_BYTES,
    )


def _op_type(layer: str, inputs: tuple[str, ...], tensors: dict[str, TensorFact], name: str) -> str:
    """As `coverage.count` names products; a Reorder that changes the type is a conversion, not a layout change."""
    if layer.startswith("FullyConnected"):
        return "MatMul"
    if layer == "Reorder" and tensors[inputs[0]].dtype != tensors[f"{name}:0"].dtype:
        return "Convert"
    return _PRODUCTS.get(layer, layer)


def _sources(operation: Any) -> Iterator[str]:
    for value in operation.inputs():
        source = value.get_source_output()
        yield f"{source.get_node().get_friendly_name()}:{source.get_index()}"


def _operations(operation: Any, operators: Mapping[str, str]) -> Iterator[str]:
    """Of the model, as far as the node says where it comes from."""
    information = operation.get_rt_info()
    names = str(information["originalLayersNames"].astype(str)) if "originalLayersNames" in information else ""
    for name in names.split(","):
        if name in operators:
            yield operators[name]


def _ungroup_weights(name: str, channels: int, tensors: dict[str, TensorFact]) -> None:
    """A grouped weight (groups, Cout / groups, Cin / groups, *kernel) as in ONNX: (Cout, Cin / groups, *kernel)."""
    fact = tensors[name]
    groups, outputs, *rest = fact.shape
    if len(fact.shape) == 5 and groups * rest[0] == channels:
        tensors[name] = TensorFact(dtype=fact.dtype, shape=(groups * outputs, *rest))
