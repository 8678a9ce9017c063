"""Hostile changes of a model.onnx: of its bytes, and of its graph by whoever knows ONNX."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Mutation = Callable[[onnx.ModelProto, random.Random], None]

ALLOWED = (
    "Add", "AveragePool", "Cast", "Clip", "Concat", "Conv", "DequantizeLinear", "Flatten", "Gemm", "GlobalAveragePool",
    "LeakyRelu", "LpNormalization", "Max", "MaxPool", "Min", "Mul", "PRelu", "Pad", "QuantizeLinear", "Relu", "Reshape",
    "Slice", "Sub", "Transpose",
)  # fmt: skip
OTHERS = (
    "Abs", "ArgMax", "BatchNormalization", "Constant", "ConstantOfShape", "ConvTranspose", "CumSum", "DepthToSpace",
    "Div", "Einsum", "Exp", "Expand", "Gather", "GRU", "Identity", "If", "Loop", "LSTM", "MatMul", "NonMaxSuppression",
    "NonZero", "OneHot", "Pow", "QLinearConv", "RandomNormal", "Range", "ReduceSum", "Resize", "Scan", "ScatterND",
    "Shape", "Softmax", "Split", "Sqrt", "Squeeze", "StringNormalizer", "Tile", "TopK", "Unique", "Where",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 3, 7, 64, 255, 1000, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63))
ATTRIBUTES = (
    "axis", "kernel_shape", "strides", "pads", "dilations", "group", "perm", "to", "transB", "transA", "alpha", "p",
    "ceil_mode", "count_include_pad", "auto_pad", "mode", "block_size", "saturate", "allowzero", "epsilon",
    "storage_order",
)  # fmt: skip


def mutated_model(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """The bytes of a hostile model made of `content`, and what was done to it."""
    model = onnx.load_from_string(content)
    if draw.random() < 0.3:
        return mutated_bytes(model.SerializeToString(), draw), "bytes"
    names = []
    for _ in range(draw.choice((1, 1, 1, 2))):
        mutation = draw.choice(MUTATIONS)
        mutation(model, draw)
        names.append(mutation.__name__)
    changed = model.SerializeToString()
    if draw.random() < 0.05:
        return mutated_bytes(changed, draw), f"{'+'.join(names)}+bytes"
    return changed, "+".join(names)


def mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    """Some bytes replaced, inserted, removed or copied; half of the time where the structure is, near both ends."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        if draw.random() < 0.5:
            place = draw.randrange(len(changed) + 1)
        else:
            place = min(
                len(changed), draw.choice((draw.randrange(400), max(0, len(changed) - draw.randrange(1, 4000))))
            )
        match draw.randrange(6):
            case 0:
                changed[place : place + 1] = bytes([draw.randrange(256)])
            case 1 if place < len(changed):
                changed[place] ^= 1 << draw.randrange(8)
            case 2:
                changed[place:place] = bytes(draw.randrange(256) for _ in range(draw.choice((1, 4, 20))))
            case 3:
                del changed[place : place + draw.choice((1, 4, 100))]
            case 4:
                size = draw.choice((8, 64, 1000))
                changed[place:place] = changed[place : place + size]
            case _:
                changed[place : place + 10] = b"\xff" * 9 + b"\x01"
    return bytes(changed)


def _node(model: onnx.ModelProto, draw: random.Random, *kinds: str) -> onnx.NodeProto:
    nodes = [node for node in model.graph.node if not kinds or node.op_type in kinds] or list(model.graph.node)
    found: onnx.NodeProto = draw.choice(nodes)
    return found


def _value(model: onnx.ModelProto, draw: random.Random) -> str:
    names = [node.output[0] for node in model.graph.node if node.output]
    names += [tensor.name for tensor in model.graph.initializer] + [port.name for port in model.graph.input]
    return draw.choice(names or ["nothing"])


def _constant(model: onnx.ModelProto, array: Any) -> str:
    name = f"new{len(model.graph.initializer)}"
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return name


def _insert(model: onnx.ModelProto, place: int, node: onnx.NodeProto) -> None:
    """Insert, and have the next node that reads the first input read the output instead."""
    for reader in list(model.graph.node)[place:]:
        for index, name in enumerate(reader.input):
            if node.input and name == node.input[0]:
                reader.input[index] = node.output[0]
                break
        else:
            continue
        break
    model.graph.node.insert(place, node)


def _place_of(model: onnx.ModelProto, draw: random.Random) -> tuple[int, str]:
    """A place between two nodes, and a value that is known there."""
    place = draw.randrange(1, len(model.graph.node) + 1)
    before = model.graph.node[place - 1]
    return place, before.output[0] if before.output else _value(model, draw)


def insert_operator(model: onnx.ModelProto, draw: random.Random) -> None:
    place, value = _place_of(model, draw)
    kind = draw.choice(ALLOWED if draw.random() < 0.7 else OTHERS)
    inputs = [value, *(_value(model, draw) for _ in range(draw.choice((0, 0, 1, 2, 3))))]
    node = helper.make_node(kind, inputs, [f"inserted{place}"])
    if draw.random() < 0.6:
        node.attribute.append(_attribute(draw))
    _insert(model, place, node)


def insert_harmless(model: onnx.ModelProto, draw: random.Random) -> None:
    """What keeps shapes and types, so that nothing but the operator's place is strange."""
    place, value = _place_of(model, draw)
    name = f"inserted{place}"
    if draw.random() < 0.5:
        _insert(model, place, helper.make_node(draw.choice(("Relu", "Flatten", "Identity", "Neg")), [value], [name]))
        return
    perm = draw.choice(((0, 1, 2, 3), (0, 3, 1, 2), (0, 2, 3, 1), (1, 0, 2, 3), (0, 1, 3, 2)))
    _insert(model, place, helper.make_node("Transpose", [value], [name], perm=perm))


def transpose_before_pad(model: onnx.ModelProto, draw: random.Random) -> None:
    place, value = _place_of(model, draw)
    pads = _constant(model, np.array([draw.choice((0, 1, 3, -1)) for _ in range(8)]))
    perm = draw.choice(((0, 3, 1, 2), (0, 2, 3, 1), (3, 0, 1, 2), (0, 1, 2, 3)))
    _insert(model, place, helper.make_node("Transpose", [value], ["turned"], perm=perm))
    _insert(model, place + 1, helper.make_node("Pad", ["turned", pads], ["padded"]))


def swap_operator(model: onnx.ModelProto, draw: random.Random) -> None:
    _node(model, draw).op_type = draw.choice((*ALLOWED, *OTHERS, "", "A" * 5000, "Conv\0"))


def change_input(model: onnx.ModelProto, draw: random.Random) -> None:
    node = _node(model, draw)
    if node.input and draw.random() < 0.8:
        node.input[draw.randrange(len(node.input))] = draw.choice(
            (_value(model, draw), _value(model, draw), "", "nowhere")
        )
    else:
        node.input.extend([_value(model, draw)] * draw.choice((1, 2, 500)))


def change_output(model: onnx.ModelProto, draw: random.Random) -> None:
    node = _node(model, draw)
    if draw.random() < 0.5:
        node.output[0] = _value(model, draw)
    else:
        node.output.extend(["more"] * draw.choice((1, 2)))


def swap_attributes(model: onnx.ModelProto, draw: random.Random) -> None:
    node = _node(
        model, draw, "Conv", "MaxPool", "AveragePool", "Transpose", "Cast", "DequantizeLinear", "Gemm", "Concat"
    )
    if node.attribute and draw.random() < 0.7:
        attribute = draw.choice(list(node.attribute))
        if attribute.ints and draw.random() < 0.7:
            attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(NUMBERS)
        elif attribute.ints:
            del attribute.ints[draw.randrange(len(attribute.ints))]
        else:
            attribute.i = draw.choice(NUMBERS)
    else:
        node.attribute.append(_attribute(draw))


def _attribute(draw: random.Random) -> onnx.AttributeProto:
    many = draw.choice((1, 2, 4, 4, 8))
    value: Any = draw.choice(
        (
            draw.choice(NUMBERS), [draw.choice(NUMBERS) for _ in range(many)],
            [draw.choice((0, 1, 2)) for _ in range(many)],
            draw.choice((0.0, 1.5, float("nan"), 1e38)), b"SAME_UPPER", ["a", "b"],
            numpy_helper.from_array(np.ones(3, np.float32)), helper.make_graph([], "sub", [], []),
        )
    )  # fmt: skip
    return helper.make_attribute(draw.choice(ATTRIBUTES), value)


def huge_shape(model: onnx.ModelProto, draw: random.Random) -> None:
    tensor = draw.choice(list(model.graph.initializer))
    size = draw.choice((1 << 20, 1 << 31, 1 << 33, 1 << 40, (1 << 63) - 1, 0, -1))
    tensor.dims[:] = draw.choice(([size], [size, size], [1] * draw.choice((5, 9, 100)), [1, size], [size, 1, 1, 1]))
    if draw.random() < 0.5:
        tensor.ClearField("raw_data")


def other_type(model: onnx.ModelProto, draw: random.Random) -> None:
    draw.choice(list(model.graph.initializer)).data_type = draw.choice((*range(27), 1 << 20))


def strange_values(model: onnx.ModelProto, draw: random.Random) -> None:
    """Scales of zero, infinite and negative ones, weights and zero points of anything."""
    for _ in range(draw.choice((1, 3, 30))):
        tensor = draw.choice(list(model.graph.initializer))
        size = len(tensor.raw_data)
        kind = draw.randrange(4)
        if kind == 0:
            tensor.raw_data = bytes(size)
        elif kind == 1:
            tensor.raw_data = b"\xff" * size
        elif kind == 2:
            tensor.raw_data = (np.array(draw.choice((np.nan, np.inf, -1.0, 1e38, 1e-45)), "<f4").tobytes() * size)[
                :size
            ]
        else:
            tensor.raw_data = draw.randbytes(size)


def external_data(model: onnx.ModelProto, draw: random.Random) -> None:
    tensor = draw.choice(list(model.graph.initializer))
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", draw.choice(("/etc/passwd", "../x", "model.onnx", "/dev/zero"))), ("offset", "0")):
        tensor.external_data.add(key=key, value=value)


def typed_data(model: onnx.ModelProto, draw: random.Random) -> None:
    tensor = draw.choice(list(model.graph.initializer))
    tensor.float_data.extend([1.0] * draw.choice((1, 8)))
    if draw.random() < 0.5:
        tensor.ClearField("raw_data")


def duplicate_names(model: onnx.ModelProto, draw: random.Random) -> None:
    tensors = model.graph.initializer
    if draw.random() < 0.5:
        tensors.append(draw.choice(list(tensors)))
    else:
        draw.choice(list(tensors)).name = draw.choice((_value(model, draw), "images", "embeddings", ""))


def cycle(model: onnx.ModelProto, draw: random.Random) -> None:
    place = draw.randrange(len(model.graph.node))
    node = model.graph.node[place]
    if node.input:
        node.input[0] = draw.choice([other.output[0] for other in list(model.graph.node)[place:] if other.output])


def shuffle_nodes(model: onnx.ModelProto, draw: random.Random) -> None:
    nodes = list(model.graph.node)
    draw.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def remove_node(model: onnx.ModelProto, draw: random.Random) -> None:
    """Its readers read what it read."""
    node = _node(model, draw)
    if node.input and node.output:
        for reader in model.graph.node:
            reader.input[:] = [node.input[0] if name == node.output[0] else name for name in reader.input]
    model.graph.node.remove(node)


def endless_loop(model: onnx.ModelProto, draw: random.Random) -> None:
    true, many = _constant(model, np.array(True)), _constant(model, np.int64((1 << 63) - 1))
    place, value = _place_of(model, draw)
    boolean, whole = TensorProto.BOOL, TensorProto.INT64
    body = helper.make_graph(
        [helper.make_node("Identity", ["condition"], ["again"]), helper.make_node("Identity", ["held"], ["kept"])],
        "body",
        [
            helper.make_tensor_value_info("count", whole, []),
            helper.make_tensor_value_info("condition", boolean, []),
            helper.make_tensor_value_info("held", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", boolean, []),
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, None),
        ],
    )
    model.graph.node.insert(place, helper.make_node("Loop", [many, true, value], ["looped"], body=body))


def branch(model: onnx.ModelProto, draw: random.Random) -> None:
    true = _constant(model, np.array(True))
    place, value = _place_of(model, draw)
    output = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)
    branch_ = helper.make_graph([helper.make_node("Identity", [value], ["chosen"])], "branch", [], [output])
    node = helper.make_node("If", [true], ["branched"], then_branch=branch_, else_branch=branch_)
    model.graph.node.insert(place, node)


def nested_functions(model: onnx.ModelProto, draw: random.Random) -> None:
    depth = draw.choice((1, 30))
    model.opset_import.add(domain="own", version=1)
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    for level in range(depth):
        kind, domain = ("Identity", "") if level == 0 else (f"f{level - 1}", "own")
        nodes = [
            helper.make_node(kind, ["x"], ["y"], domain=domain),
            helper.make_node(kind, ["y"], ["z"], domain=domain),
        ]
        model.functions.append(helper.make_function("own", f"f{level}", ["x"], ["z"], nodes, imports))
    place, value = _place_of(model, draw)
    _insert(model, place, helper.make_node(f"f{depth - 1}", [value], ["called"], domain="own"))


def other_opset(model: onnx.ModelProto, draw: random.Random) -> None:
    if draw.random() < 0.5:
        model.opset_import[0].version = draw.choice((*NUMBERS, 7, 13, 14, 17, 18, 20, 22, 23, 24, 25))
    else:
        model.opset_import.add(domain=draw.choice(("", "com.microsoft", "ai.onnx.ml", "own")), version=1)


def other_ir_version(model: onnx.ModelProto, draw: random.Random) -> None:
    model.ir_version = draw.choice((*NUMBERS, 3, 7, 8, 11, 12))


def many_nodes(model: onnx.ModelProto, draw: random.Random) -> None:
    _chain(model, draw, draw.choice((1_000, 9_000, 100_000)))


def _chain(model: onnx.ModelProto, draw: random.Random, count: int) -> None:
    """Behind the first convolution: neutral operators, one after the other."""
    place = 1 + next(index for index, node in enumerate(model.graph.node) if node.op_type == "Conv")
    value = model.graph.node[place - 1].output[0]
    kind = draw.choice(("Relu", "LeakyRelu", "Add", "MaxPool", "Concat"))
    first, nodes = value, []
    for number in range(count):
        name = f"chain{number}"
        inputs = [first, first] if kind == "Add" else [first]
        node = helper.make_node(kind, inputs, [name])
        if kind == "MaxPool":
            node.attribute.append(helper.make_attribute("kernel_shape", [1, 1]))
        if kind == "Concat":
            node.attribute.append(helper.make_attribute("axis", 1))
        nodes.append(node)
        first = name
    rest = list(model.graph.node)[place:]
    for reader in rest:
        reader.input[:] = [first if name == value else name for name in reader.input]
    del model.graph.node[place:]
    model.graph.node.extend((*nodes, *rest))


def wide_graph(model: onnx.ModelProto, draw: random.Random) -> None:
    """Many branches of the images at once, the sum of which is added to a value of their shape."""
    place = 1 + next(index for index, node in enumerate(model.graph.node) if node.op_type == "Conv")
    convolution = model.graph.node[place - 1]
    value, nodes = convolution.output[0], []
    count = draw.choice((10, 500, 3_000))
    for number in range(count):
        copy = onnx.NodeProto()
        copy.CopyFrom(convolution)
        copy.output[0], copy.name = f"wide{number}", ""
        nodes.append(copy)
    total = value
    for number in reversed(range(count)):
        inputs = [f"wide{number}", total] if draw.random() < 0.5 else [total, f"wide{number}"]
        nodes.append(helper.make_node("Add", inputs, [f"sum{number}"]))
        total = f"sum{number}"
    rest = list(model.graph.node)[place:]
    for reader in rest:
        reader.input[:] = [total if name == value else name for name in reader.input]
    del model.graph.node[place:]
    model.graph.node.extend((*nodes, *rest))


def growing_values(model: onnx.ModelProto, draw: random.Random) -> None:
    """Each twice as wide as the one before; then cut to what it was, or averaged."""
    place = 1 + next(index for index, node in enumerate(model.graph.node) if node.op_type == "Conv")
    value = model.graph.node[place - 1].output[0]
    first, nodes = value, []
    for number in range(draw.choice((4, 10, 16, 30))):
        nodes.append(
            helper.make_node("Concat", [first, first], [f"grown{number}"], axis=draw.choice((1, 1, 1, 0, 2, 3)))
        )
        first = f"grown{number}"
    rest = list(model.graph.node)[place:]
    nodes.append(helper.make_node("GlobalAveragePool", [first], ["average"]))
    del model.graph.node[place:]
    model.graph.node.extend((*nodes, *rest))


def heavy_pool(model: onnx.ModelProto, draw: random.Random) -> None:
    place = 1 + next(index for index, node in enumerate(model.graph.node) if node.op_type == "Conv")
    value = model.graph.node[place - 1].output[0]
    size = draw.choice((3, 15, 201, 1001))
    pads = draw.choice((size // 2, size - 1, size))
    node = helper.make_node(
        draw.choice(("MaxPool", "AveragePool")), [value], ["pooled"], kernel_shape=[size, size], pads=[pads] * 4,
        strides=[draw.choice((1, 1, 2))] * 2, ceil_mode=draw.choice((0, 1)),
    )  # fmt: skip
    _insert(model, place, node)


def heavy_convolution(model: onnx.ModelProto, draw: random.Random) -> None:
    node = _node(model, draw, "Conv")
    names = {attribute.name: attribute for attribute in node.attribute}
    if "pads" not in names:
        node.attribute.append(helper.make_attribute("pads", [0] * 4))
    next(attribute for attribute in node.attribute if attribute.name == "pads").ints[:] = [
        draw.choice((64, 255, 5000))
    ] * 4


def repeated_constants(model: onnx.ModelProto, draw: random.Random) -> None:
    """Weights dequantized again and again."""
    kinds = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.attribute]
    for number in range(draw.choice((10, 2_000))):
        copy = onnx.NodeProto()
        copy.CopyFrom(draw.choice(kinds))
        copy.output[0] = f"again{number}"
        model.graph.node.insert(len(model.graph.node) - 1, copy)


def constant_of_shape(model: onnx.ModelProto, draw: random.Random) -> None:
    shape = _constant(model, np.array(draw.choice(([1 << 31], [1 << 16, 1 << 16], [2_000_000_000]))))
    place, value = _place_of(model, draw)
    model.graph.node.insert(place, helper.make_node("ConstantOfShape", [shape], ["huge"]))
    _insert(model, place + 1, helper.make_node("ReduceSum", ["huge"], ["small"]))
    _insert(model, place + 2, helper.make_node("Add", [value, "small"], ["with_small"]))


def other_fields(model: onnx.ModelProto, draw: random.Random) -> None:
    match draw.randrange(5):
        case 0:
            sparse = model.graph.sparse_initializer.add()
            sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "sparse"))
            sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64)))
            sparse.dims.extend([1 << 40])
        case 1:
            model.training_info.add().initialization.name = "training"
        case 2:
            name = _value(model, draw)
            model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.INT64, [1 << 40, "batch"]))
        case 3:
            annotation = model.graph.quantization_annotation.add()
            annotation.tensor_name = _value(model, draw)
        case _:
            model.graph.doc_string = "d" * 100_000


def other_ports(model: onnx.ModelProto, draw: random.Random) -> None:
    port = draw.choice((model.graph.input[0], model.graph.output[0]))
    dims = port.type.tensor_type.shape.dim
    match draw.randrange(6):
        case 0:
            dims[draw.randrange(len(dims))].dim_value = draw.choice(NUMBERS)
        case 1:
            port.name = draw.choice(("images", "embeddings", "", "other"))
        case 2:
            port.type.tensor_type.elem_type = draw.choice(range(20))
        case 3:
            model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1]))
        case 4:
            model.graph.output.append(helper.make_tensor_value_info(_value(model, draw), TensorProto.FLOAT, None))
        case _:
            dims.add().dim_value = 1


def other_output(model: onnx.ModelProto, draw: random.Random) -> None:
    """Embeddings that are not of unit length, one row of many, or mixed over the batch."""
    last = model.graph.node[-1]
    match draw.randrange(5):
        case 0:
            last.op_type = draw.choice(("Identity", "Relu", "Flatten", "Sigmoid"))
            del last.attribute[:]
        case 1:
            next(attribute for attribute in last.attribute if attribute.name == "axis").i = draw.choice((0, -1, 2, 5))
        case 2:
            last.attribute.append(helper.make_attribute("p", 1))
        case 3:
            size = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
            shape = (
                _constant(model, np.array([1, -1])) if draw.random() < 0.5 else _constant(model, np.array([-1, size]))
            )
            last.output[0] = "unit"
            model.graph.node.append(helper.make_node("Reshape", ["unit", shape], ["embeddings"]))
        case _:
            last.output[0] = "unit"
            seven = _constant(model, np.float32(draw.choice((7, 0, np.nan))))
            model.graph.node.append(helper.make_node("Mul", ["unit", seven], ["embeddings"]))


def strange_names(model: onnx.ModelProto, draw: random.Random) -> None:
    name = draw.choice(("n" * 500, "n" * 100_000, "a\nb", "\x1b[31m", "a/b", "images", "0", "é"))
    node = _node(model, draw)
    old = node.output[0] if node.output else ""
    node.name = name
    if draw.random() < 0.5 and node.output:
        for reader in model.graph.node:
            reader.input[:] = [name if value == old else value for value in reader.input]
        node.output[0] = name


def other_metadata(model: onnx.ModelProto, draw: random.Random) -> None:
    prop = draw.choice(list(model.metadata_props))
    prop.value = draw.choice(("", "[" * 100_000, "1e999", "{}", prop.value + " ", "9" * 5000))
    if draw.random() < 0.5:
        model.metadata_props.add(key=prop.key, value=prop.value)


MUTATIONS: tuple[Mutation, ...] = (
    insert_operator, insert_operator, insert_harmless, insert_harmless, transpose_before_pad, swap_operator,
    change_input, change_input, change_output, swap_attributes, swap_attributes, swap_attributes, huge_shape,
    other_type, strange_values, strange_values, external_data, typed_data, duplicate_names, cycle, shuffle_nodes,
    remove_node, remove_node, endless_loop, branch, nested_functions, other_opset, other_ir_version, many_nodes,
    wide_graph, growing_values, heavy_pool, heavy_convolution, repeated_constants, constant_of_shape, other_fields,
    other_ports, other_output, strange_names, other_metadata,
)  # fmt: skip
