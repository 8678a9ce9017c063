"""The walk over an ONNX graph that builds the torch network."""

from __future__ import annotations

import collections
import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from onnx import AttributeProto, NodeProto, TensorProto
from torch import fx

from efq.toolchain.graph.from_onnx.builder import BATCH, Activation, GraphBuilder, Value
from efq.toolchain.graph.from_onnx.embedding_output import check_declared_outputs, embedding_output, embedding_size
from efq.toolchain.graph.from_onnx.image_input import ImageLayout, image_layout
from efq.toolchain.graph.from_onnx.model_file import DEFAULT_DOMAINS, OnnxModel, read_model, refused
from efq.toolchain.graph.from_onnx.operator_call import OperatorCall
from efq.toolchain.graph.from_onnx.operators.plain_values import NARROW
from efq.toolchain.graph.from_onnx.operators.refused import REFUSED, refuse_operator
from efq.toolchain.graph.from_onnx.operators.reshape import viewed
from efq.toolchain.graph.from_onnx.operators.table import OPERATORS
from efq.toolchain.graph.from_onnx.refusal import OnnxRefusalError, refuse
from efq.toolchain.graph.from_onnx.tensors import read_tensor

_NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImportedNetwork:
    """network: float32 (N, 3, H, W), gray (N, 1, H, W), -> (N, d), trainable. image: what the file's own input is.

    notes: what the user is told. values: the node of `network` that computes each value of the file, by its name, and
    how its axes are stored. output: the file's name of the embedding.
    """

    model: OnnxModel
    network: fx.GraphModule
    image: ImageLayout
    notes: tuple[str, ...]
    values: Mapping[str, tuple[str, tuple[int, ...]]]
    output: str


def import_onnx(path: Path) -> ImportedNetwork:
    """The network in the ONNX file `path` as a torch network.

    Raises CheckpointError for a file that is damaged, whose graph has no torch form, naming its first such node, or
    that gives no embedding for an image.
    """
    model = read_model(path)
    builder = GraphBuilder()
    try:
        layout = image_layout(model.image)
        _refuse_quantized(model)
        check_declared_outputs(model)
    except OnnxRefusalError as error:
        raise refused(path, error) from error
    values = _walk(model, builder, layout)
    try:
        output = embedding_output(model, values, builder)
        embedding = values[output]
        assert isinstance(embedding, Activation)
        size = embedding_size(embedding.shape)
        assert size is not None
        if embedding.shape != (BATCH, size):
            builder.note(f"the embedding is flattened to (N, {size})")
        whole = {name: value for name, value in values.items() if isinstance(value, Activation)}
        result = viewed(_call(model, builder, layout, NodeProto(), []), embedding, (BATCH, size)).node
    except OnnxRefusalError as error:
        raise refused(path, error) from error
    if is_narrow(model):
        builder.note(NARROW)
    if layout.batch is not None:
        builder.note(f"written for {layout.batch} image{'s' if layout.batch > 1 else ''} at a time: takes any number")
    network = builder.finish(result)
    kept = {node.name for node in network.graph.nodes}
    return ImportedNetwork(
        model=model,
        network=network,
        image=layout,
        notes=tuple(builder.notes),
        values={name: (value.node.name, value.axes) for name, value in whole.items() if value.node.name in kept},
        output=output,
    )


def _walk(model: OnnxModel, builder: GraphBuilder, layout: ImageLayout) -> dict[str, Value]:
    image = builder.image(layout.channels, *layout.size)
    values: dict[str, Value] = {model.image.name: Activation(image, layout.axes)}
    readers = collections.Counter(name for node in model.nodes for name in node.input)
    readers.update(model.outputs)
    for node in model.nodes:
        try:
            inputs = [_value(name, model, values) if name else None for name in node.input]
            read_once = [readers[name] == 1 for name in node.input]
            call = _call(model, builder, layout, node, inputs, read_once)
            outputs = _computed(call)
        except OnnxRefusalError as error:
            raise refused(model.path, error, _place(model, node)) from error
        for name, value in zip(node.output, outputs, strict=False):
            if name and value is not None:
                values[name] = value
    for name in model.outputs:
        if name not in values:
            raise refused(model.path, OnnxRefusalError(f"an output {name[:60]!r} that is not computed here", ""))
    return values


def _call(
    model: OnnxModel,
    builder: GraphBuilder,
    layout: ImageLayout,
    node: NodeProto,
    inputs: Sequence[Value | None],
    read_once: Sequence[bool] = (),
) -> OperatorCall:
    return OperatorCall(
        node,
        inputs,
        builder,
        opset=model.opset,
        fixed_batch=layout.batch,
        read_once=read_once,
        tensor_of=lambda tensor: read_tensor(tensor, model.path.parent),
    )


def _value(name: str, model: OnnxModel, values: dict[str, Value]) -> Value:
    if name not in values:
        if name not in model.initializers:
            refuse(f"{name[:60]!r}, an output that is not computed here", "leave it out of the graph")
        values[name] = model.tensor(name)
    return values[name]


def _computed(call: OperatorCall) -> list[Value | None]:
    handler = OPERATORS.get(call.node.op_type)
    if handler is None or call.node.domain not in DEFAULT_DOMAINS:
        refuse_operator(call)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = handler(call)
        except (TypeError, ValueError, RuntimeError, IndexError, OverflowError, ZeroDivisionError) as error:
            if isinstance(error, OnnxRefusalError):
                raise
            reason = f"arguments that do not fit ({(str(error).strip() or repr(error)).splitlines()[0][:200]})"
            raise OnnxRefusalError(reason, "the file is damaged: fetch it again") from error
    call.check_attributes()
    return found if isinstance(found, list) else [found]


def _place(model: OnnxModel, node: NodeProto) -> str:
    """A node for messages: its operator, name and output."""
    output = node.output[0] if node.output else ""
    shape = model.shapes.get(output)
    shown = "" if shape is None else f" of {[size if size is not None else 'N' for size in shape]}"
    name = f" {node.name[:80]!r}" if node.name else ""
    return f"at the node {node.op_type[:40]}{name} (output {output[:80]!r}{shown}) "


def _refuse_quantized(model: OnnxModel) -> None:
    """Before anything else is said of a quantized file."""
    for node in model.nodes:
        if node.op_type in REFUSED and "already quantized" in REFUSED[node.op_type][0]:
            reason, advice = REFUSED[node.op_type]
            refuse(f"{_place(model, node)}{reason}", advice)


def is_narrow(model: OnnxModel) -> bool:
    """Whether the image, weights, constants or conversions are of 16 bits."""
    attributes = [attribute for node in model.nodes for attribute in node.attribute]
    kinds = {tensor.data_type for tensor in model.initializers.values()}
    kinds |= {attribute.t.data_type for attribute in attributes if attribute.type == AttributeProto.TENSOR}
    kinds |= {attribute.i for attribute in attributes if attribute.name == "to"}
    return not kinds.union([model.image.type.tensor_type.elem_type]).isdisjoint(_NARROW)
