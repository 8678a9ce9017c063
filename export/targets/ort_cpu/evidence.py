"""What ONNX Runtime itself says it ran: the graph it optimized and the profile of real runs, of one session."""

from __future__ import annotations

import collections
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from efq.export.coverage.evidence import Evidence, ExecutedNode, TensorFact
from efq.runtime.backends.onnxruntime_module import import_onnxruntime
from efq.runtime.errors import CoverageError, IncompatibleArtifactError, InputError, UsageError
from efq.runtime.files import temporary_folder

_KERNEL_SUFFIX = "_kernel_time"
_PROFILE_DTYPES = {"float32": "float", "float64": "double"}


def collect_evidence(model: Path, *, images: np.ndarray, runs: int) -> Evidence:
    """Run `model` on `images` in ONNX Runtime on one CPU thread, `runs` times after one warm-up, under its profiler.

    Raises InputError when `images` do not fit the model's only input, IncompatibleArtifactError when ONNX Runtime
    cannot load or run the model, CoverageError when the profile does not agree with the optimized graph, UsageError
    when there is no room for them in the folder of temporary files.
    """
    onnxruntime = import_onnxruntime()
    with temporary_folder("efq-coverage") as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(folder / "optimized.onnx")
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        named = _with_unique_node_names(model, folder)
        profile, graph_input = _run(named, model, options, images, runs + 1)
        events, graph = _read(Path(profile), Path(options.optimized_model_filepath))
    return _join(
        graph,
        _kernel_events(events),
        graph_input=graph_input,
        images=images,
        runs=runs + 1,
        runtime=f"onnxruntime {onnxruntime.__version__} CPUExecutionProvider",
    )


def _with_unique_node_names(model: Path, folder: Path) -> Path:
    """The model itself, or a copy whose nodes can be told apart by name: the profile knows nodes by name only."""
    try:
        proto = onnx.load(model)
    except Exception as error:  # onnx and protobuf have no common base class of their errors
        message = f"expected an ONNX model in {model}, found a file that cannot be read ({error}). Export it again"
        raise IncompatibleArtifactError(message) from error
    names = collections.Counter(node.name for node in proto.graph.node)
    if "" not in names and all(count == 1 for count in names.values()):
        return model
    for index, node in enumerate(proto.graph.node):
        node.name = f"{node.name or node.op_type}#{index}"
    copy = folder / "named.onnx"
    onnx.save(proto, copy)
    return copy


def _read(profile: Path, optimized: Path) -> tuple[Any, onnx.GraphProto]:
    """What ONNX Runtime wrote, which says nothing where it cannot write all of it. Raises UsageError for that."""
    try:
        return json.loads(profile.read_text(encoding="utf-8")), onnx.load(optimized).graph
    except Exception as error:  # onnx and protobuf have no common base class of their errors
        raise _no_room(profile.parent, error) from error


def _no_room(folder: Path, error: Exception) -> UsageError:
    message = (
        f"expected room for what ONNX Runtime writes into {folder}, found files that are cut off ({error}): "
        "make room there, or set TMPDIR to a folder with room"
    )
    return UsageError(message)


def _run(path: Path, model: Path, options: Any, images: np.ndarray, runs: int) -> tuple[str, str]:
    """Profile `runs` runs. Returns the profile's path and the name of the graph's input."""
    onnxruntime = import_onnxruntime()
    try:
        session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions derive from Exception directly
        if any(words in str(error) for words in ("serialization failed", "SystemError")):  # of the optimized graph
            raise _no_room(Path(options.optimized_model_filepath).parent, error) from error
        message = f"expected a model that ONNX Runtime can load, found {model}: {error}. Export it again"
        raise IncompatibleArtifactError(message) from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        message = f"expected a model with one input (images), found {[value.name for value in inputs]} in {model}"
        raise InputError(message)
    _check_images(images, inputs[0].type, inputs[0].shape, model)
    try:
        for _ in range(runs):
            session.run(None, {inputs[0].name: images})
    except Exception as error:
        message = f"expected {model} to run on images {images.shape}, found: {error}. Export it again"
        raise IncompatibleArtifactError(message) from error
    return session.end_profiling(), inputs[0].name


def _check_images(images: np.ndarray, expected_type: str, expected_shape: list[Any], model: Path) -> None:
    found_type = f"tensor({_dtype_name(images.dtype.name)})"
    same_rank = len(expected_shape) == images.ndim
    fits = same_rank and all(
        not isinstance(expected, int) or expected == found
        for expected, found in zip(expected_shape, images.shape, strict=True)
    )
    if found_type != expected_type or not fits or images.shape[0] == 0:
        message = (
            f"expected images as {expected_type} of shape {expected_shape} for {model}, found {found_type} of shape "
            f"{list(images.shape)}. Pass one or more images as the model's input contract says"
        )
        raise InputError(message)


def _kernel_events(events: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    kernels: dict[str, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL_SUFFIX):
            kernels[event["name"].removesuffix(_KERNEL_SUFFIX)].append(event)
    return dict(kernels)


def _join(
    graph: onnx.GraphProto,
    events: Mapping[str, list[Mapping[str, Any]]],
    *,
    graph_input: str,
    images: np.ndarray,
    runs: int,
    runtime: str,
) -> Evidence:
    """Attach the profile's times, dtypes and shapes to the nodes and tensors of the optimized graph."""
    _check_agreement(graph, events, runs)
    tensors = {graph_input: TensorFact(dtype=_dtype_name(images.dtype.name), shape=images.shape)}
    for value in graph.initializer:
        dtype = helper.tensor_dtype_to_np_dtype(value.data_type).name
        tensors[value.name] = TensorFact(dtype=_dtype_name(dtype), shape=tuple(value.dims))
    nodes = []
    for node in graph.node:
        own = events.get(node.name, [])
        if own:
            tensors.update(_output_facts(node, own[-1]["args"]["output_type_shape"]))
        nodes.append(
            ExecutedNode(
                name=node.name,
                op_type=node.op_type,
                domain=node.domain,
                inputs=tuple(node.input),
                outputs=tuple(name for name in node.output if name),
                attributes={value.name: helper.get_attribute_value(value) for value in node.attribute},
                microseconds=statistics.median(event["dur"] for event in own[1:]) if own else 0.0,
            )
        )
    return Evidence(
        nodes=tuple(nodes), tensors=tensors, graph_input=graph_input, batch=images.shape[0], runtime=runtime
    )


def _check_agreement(graph: onnx.GraphProto, events: Mapping[str, list[Mapping[str, Any]]], runs: int) -> None:
    """Raises CoverageError unless every profiled node is in the optimized graph, with its type, once a run."""
    op_types = {node.name: node.op_type for node in graph.node}
    for name, own in events.items():
        found = {event["args"]["op_name"] for event in own}
        if found != {op_types.get(name)} or len(own) != runs:
            message = (
                f"expected the profile of ONNX Runtime to hold node {name!r} as {op_types.get(name)!r} of the "
                f"optimized graph, {runs} times, found {sorted(found)} {len(own)} times. The report cannot be trusted: "
                "use a version of onnxruntime that EFQ is tested with"
            )
            raise CoverageError(message)


def _output_facts(node: onnx.NodeProto, type_shapes: list[Mapping[str, list[int]]]) -> dict[str, TensorFact]:
    names = [name for name in node.output if name]
    if len(names) != len(type_shapes):
        message = (
            f"expected the profile to give {len(names)} output shapes of node {node.name!r} ({node.op_type}), found "
            f"{len(type_shapes)}. The report cannot be trusted: use a version of onnxruntime that EFQ is tested with"
        )
        raise CoverageError(message)
    facts = {}
    for name, type_shape in zip(names, type_shapes, strict=True):
        ((dtype, shape),) = type_shape.items()
        facts[name] = TensorFact(dtype=dtype, shape=tuple(shape))
    return facts


def _dtype_name(numpy_name: str) -> str:
    """ONNX Runtime's word for a numpy dtype: float32 is "float", float64 "double", the rest as in numpy."""
    return _PROFILE_DTYPES.get(numpy_name, numpy_name)
