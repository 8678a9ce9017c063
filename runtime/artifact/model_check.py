"""Whether a model.onnx is a graph of EFQ's, found before a runtime parses it: what a stranger wrote may hold anything.

A runtime's parser runs whatever ONNX allows, loops included, allocates what a shape says, and crashes on graphs nobody
tried. So the graph is checked in full here, in some milliseconds a megabyte of weights not even looked at: closed lists
of fields and operators, every tensor as large as its bytes, every value given before it is read, and the shape of each
of them, so that memory and work are bounded too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from efq.runtime.artifact.contract import LARGEST_SIDE
from efq.runtime.artifact.graph_values import IMAGES, SURFACE, Activation, Constant, GraphError, Value
from efq.runtime.artifact.layers import PRODUCTS, multiply_adds
from efq.runtime.artifact.onnx_model import FLOAT, UINT8, Node, OnnxModel, Port, read_onnx_model
from efq.runtime.artifact.operators import apply
from efq.runtime.artifact.protobuf import DamagedMessageError
from efq.runtime.errors import IncompatibleArtifactError

OPSETS, IR_VERSIONS = range(13, 25), range(7, 13)

MOST_ELEMENTS = 2**24
"""Of one value, for one image: as 64 channels of 512 x 512."""

MOST_ELEMENTS_TOGETHER = 2**28
"""Of all values for one image; IResNet-100 has 6.3e7."""

MOST_ELEMENTS_OF_A_BATCH = 64 * MOST_ELEMENTS_TOGETHER
"""Of all values for a batch of a fixed size."""

MOST_PASSES = 2**22
"""Sum over the nodes of the square of the paths to each from the products before it, which OpenVINO's passes follow
again and again, for some seconds then; IResNet-100 has 3.6e4."""

MOST_MULTIPLY_ADDS = 2**37
"""For one image; IResNet-100 takes 1.2e10."""

ModelCheck = Callable[[bytes, Path], OnnxModel | None]


def check_model(content: bytes, path: Path) -> OnnxModel:
    """The model in `content`, which came from `path`, found to be one as EFQ writes them.

    Raises IncompatibleArtifactError that names the node or field that is not.
    """
    try:
        model = read_onnx_model(content)
        _check_graph(model)
    except (DamagedMessageError, GraphError) as error:
        message = f"expected a model as EFQ writes them at {path}, found {error}; export it again with efq-export"
        raise IncompatibleArtifactError(message) from error
    return model


def _check_graph(model: OnnxModel) -> None:
    for name, found, known in (("opset", model.opset, OPSETS), ("IR version", model.ir_version, IR_VERSIONS)):
        if found not in known:
            message = f"{name} {found}, not {known.start} to {known.stop - 1}"
            raise GraphError(message)
    values = _given(model)
    paths = dict.fromkeys(values, 0)
    stored = sum(math.prod(tensor.dims) for tensor in model.initializers)
    elements = work = computed = passes = 0
    for node in model.nodes:
        try:
            value = _output(node, values)
            values[node.outputs[0]] = value
        except GraphError as error:
            described = f"node {node.name or ', '.join(node.outputs)!r} ({node.operator}) with {error}"
            raise GraphError(described) from error
        paths[node.outputs[0]] = _paths(node, paths)
        passes += paths[node.outputs[0]] ** 2
        _bound(passes, MOST_PASSES, "passes over paths that no product is on")
        size = math.prod(value.shape)
        if isinstance(value, Constant):
            computed += size
        else:
            elements += size
            work += multiply_adds(node, [values[name] for name in node.inputs], value)
            _bound(size, MOST_ELEMENTS, f"values at once ({node.operator})")
    _bound(computed, 4 * stored, "values computed of constants")
    _bound(elements, MOST_ELEMENTS_TOGETHER, "values in all")
    (images,) = model.inputs
    if isinstance(images.dims[0], int):
        _bound(elements * images.dims[0], MOST_ELEMENTS_OF_A_BATCH, "values in all of a batch")
    _bound(work, MOST_MULTIPLY_ADDS, "multiply-adds")
    _check_output(model, values)


def _given(model: OnnxModel) -> dict[str, Value]:
    """Images and constants, by name."""
    values: dict[str, Value] = {}
    for tensor in model.initializers:
        _name_new(tensor.name, values)
        values[tensor.name] = Constant(tensor.dtype, tensor.dims, tensor)
    images = _only(model.inputs, "input")
    _name_new(images.name, values)
    sides = [side for side in images.dims[1:] if isinstance(side, int) and 0 < side <= LARGEST_SIDE]
    fits = len(images.dims) == 4 and len(sides) == 3
    channels_first = fits and sides[0] == 3 and (images.dtype == FLOAT or sides[2] != 3)
    if not fits or (images.dtype != UINT8 and not (images.dtype == FLOAT and channels_first)):
        message = f"the input {images.name!r} of type {images.dtype} and shape {list(images.dims)}, no images"
        raise GraphError(message)
    values[images.name] = Activation(images.dtype, tuple(sides), SURFACE if channels_first else IMAGES)
    return values


def _output(node: Node, values: dict[str, Value]) -> Value:
    missing = [name for name in node.inputs if name not in values]
    if missing:
        message = f"the input {missing[0]!r}, which nothing before it gives"
        raise GraphError(message)
    if len(node.outputs) != 1:
        message = f"{len(node.outputs)} outputs"
        raise GraphError(message)
    _name_new(node.outputs[0], values)
    return apply(node, [values[name] for name in node.inputs])


def _paths(node: Node, paths: dict[str, int]) -> int:
    return 1 if node.operator in PRODUCTS else max(1, sum(paths[name] for name in node.inputs))


def _check_output(model: OnnxModel, values: dict[str, Value]) -> None:
    embeddings = _only(model.outputs, "output")
    found = values.get(embeddings.name)
    if not isinstance(found, Activation) or found.origin != "LpNormalization":
        message = f"the output {embeddings.name!r}, which no LpNormalization gives"
        raise GraphError(message)
    if (embeddings.dtype, embeddings.dims[1:]) != (FLOAT, found.shape):
        message = f"the output {embeddings.name!r} of shape {list(embeddings.dims)}, computed as {list(found.shape)}"
        raise GraphError(message)


def _only(ports: tuple[Port, ...], kind: str) -> Port:
    if len(ports) != 1:
        message = f"{len(ports)} {kind}s, not one"
        raise GraphError(message)
    return ports[0]


def _name_new(name: str, values: dict[str, Value]) -> None:
    if not name or name in values:
        message = f"two values of the name {name!r}" if name else "a value without a name"
        raise GraphError(message)


def _bound(found: int, most: int, what: str) -> None:
    if found > most:
        message = f"{found:,} {what}, more than {most:,}"
        raise GraphError(message)
