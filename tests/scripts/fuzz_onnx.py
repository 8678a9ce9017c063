"""Open damaged ONNX files, many of them: `python tests/scripts/fuzz_onnx.py --count 20000 --seed 0`.

Small networks as exporters write them, with bytes changed, and with nodes, attributes, shapes, types, names and weights
replaced. Each is a CheckpointError in EFQ's own words, or a network that gives embeddings, those of ONNX Runtime where
that runs the file. Anything else is a hole: it is printed with the number of its mutation, and the exit code is 1.
"""

from __future__ import annotations

import copy
import random
import re
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import tests_folder  # noqa: F401
import torch
from counting import count_attempts, parser
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper
from onnx_graphs import model, node
from onnx_graphs import random as numbers

from efq.runtime.errors import CheckpointError
from efq.toolchain.graph.from_onnx import compare_with_onnx, import_onnx

FOREIGN_WORDS = re.compile(r"\x1b|0x[0-9a-f]{6}|Traceback|google\.protobuf|ONNXRuntimeError")
NUMBERS = (-(2**63), 2**63 - 1, 2**31, -(2**31), -1, 0, 1, 2, 3, 7, 100, 2**20, 2**40)
NAMES = ("", "x", "y", "../../etc/passwd", "a'); import os #", "\u2028", "a" * 5000, "forward", "w", "0")
OPERATORS = [*sorted({schema.name for schema in onnx.defs.get_all_schemas()}), "FusedConv", "", "a b"]
SLOWEST = 20.0  # seconds


def bases() -> list[ModelProto]:
    """Networks of every family of operators."""
    weights = {"w": numbers(20, 3, 3, 3), "k": numbers(20, 16), "s": np.abs(numbers(20)) + 0.1, "b": numbers(20)}
    head = [node("Conv", ["x", "w"], "c", pads=[1, 1, 1, 1], strides=[2, 2])]
    tail = [node("GlobalAveragePool", ["q"], "g"), node("Flatten", ["g"], "f"), node("MatMul", ["f", "k"])]
    norm = [node("BatchNormalization", ["c", "s", "b", "b", "s"], "n"), node("PRelu", ["n", "slope"], "q")]
    gates = [
        node("ReduceMean", ["c"], "m", axes=[2, 3]),
        node("HardSigmoid", ["m"], "h", alpha=1 / 6),
        node("Mul", ["c", "h"], "v"),
        node("Split", ["v", "sizes"], ["one", "two"], axis=1),
        node("MaxPool", ["one"], "p", kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
        node("AveragePool", ["two"], "o", kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
        node("Concat", ["p", "o"], "r", axis=1),
        node("Pad", ["r", "pads"], "t"),
        node("Slice", ["t", "start", "end", "axes"], "u"),
        node("Gather", ["u", "order"], "z", axis=1),
        node("Clip", ["z", "low", "high"], "q"),
    ]
    moves = [
        node("Transpose", ["x"], "t", perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], "c"),
        node("Transpose", ["c"], "d", perm=[0, 2, 3, 1]),
        node("Add", ["d", "b"], "e"),
        node("Shape", ["e"], "s0"),
        node("Gather", ["s0", "zero"], "s1"),
        node("Unsqueeze", ["s1", "places"], "s2"),
        node("Concat", ["s2", "rest"], "s3", axis=0),
        node("ReduceL2", ["e"], "l", axes=[3]),
        node("Div", ["e", "l"], "m"),
        node("Reshape", ["m", "s3"], "y"),
    ]
    quantized = [
        node("Cast", ["x"], "i", to=TensorProto.FLOAT),
        node("DequantizeLinear", ["weight", "s", "zeros"], "u", axis=0),
        node("Conv", ["i", "u", "b"], "c", auto_pad="SAME_UPPER"),
        node("Sigmoid", ["c"], "g"),
        node("Mul", ["c", "g"], "o"),
        node("Squeeze", ["o"], "v"),
        node("Gemm", ["f", "k"], "y", alpha=0.5),
    ]
    quantized[-2] = node("Flatten", ["o"], "f", axis=1)
    generator = np.random.default_rng(0)
    places = {"zero": np.array(0), "places": np.array([0]), "rest": np.array([-1])}
    integers = {
        **{name: np.array(value) for name, value in (("sizes", [10, 10]), ("pads", [0, 0, 1, 0, 0, 0, 1, 0]))},
        **{name: np.array(value) for name, value in (("start", [1]), ("end", [-1]), ("axes", [2]))},
        "order": np.arange(20)[::-1].copy(),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    bytes_ = {"weight": generator.integers(-9, 9, (20, 3, 3, 3)).astype(np.int8), "zeros": np.zeros(20, np.int8)}
    return [
        model([*head, *norm, *tail], weights | {"slope": numbers(20, 1, 1)}, shape=[1, 3, 12, 12]),
        model([*head, *gates, *tail], weights | integers, shape=["N", 3, 12, 12]),
        model(
            moves,
            {"w": weights["w"], "b": weights["b"], **places},
            shape=["N", 6, 6, 3],
        ),
        model(quantized, {"s": weights["s"], "b": weights["b"], "k": numbers(720, 16), **bytes_}, shape=[2, 3, 6, 6]),
    ]


def changed(proto: ModelProto, draw: random.Random) -> None:
    """Change something in place."""
    graph = proto.graph
    some = draw.choice(graph.node) if graph.node else None
    weight = draw.choice(graph.initializer) if graph.initializer else None
    names = [name for each in graph.node for name in (*each.input, *each.output)] or ["x"]
    draw.choice(_CHANGES)(proto, some, weight, names, draw)


def _attribute(proto: ModelProto, some: onnx.NodeProto, weight: object, names: list[str], draw: random.Random) -> None:
    if some is None or not some.attribute or draw.random() < 0.2:
        kinds = ("axis", "axes", "pads", "auto_pad", "kernel_shape", "group", "to", "alpha", "perm", "keepdims", "mode")
        values = (draw.choice(NUMBERS), [draw.choice(NUMBERS)] * draw.randrange(5), 0.5, "SAME_LOWER")
        if some is not None:
            some.attribute.append(helper.make_attribute(draw.choice(kinds), draw.choice(values), attr_type=None))
        return
    attribute: AttributeProto = draw.choice(some.attribute)
    if attribute.ints:
        attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(NUMBERS)
        if draw.random() < 0.3:
            attribute.ints.append(draw.choice(NUMBERS))
    elif draw.random() < 0.3:
        attribute.type = draw.randrange(15)  # type: ignore[assignment]
    else:
        attribute.i, attribute.f = draw.choice(NUMBERS), draw.choice((float("nan"), -1.0, 1e38, 0.0))
        attribute.s = draw.choice((b"SAME_LOWER", b"\xff\xfe", b"reflect"))


def _shape(proto: ModelProto, some: object, weight: TensorProto, names: object, draw: random.Random) -> None:
    action = draw.random()
    if weight is None or action < 0.3:
        dims = proto.graph.input[0].type.tensor_type.shape.dim
        if dims:
            draw.choice(dims).dim_value = draw.choice(NUMBERS)
    elif action < 0.7 and weight.dims:
        weight.dims[draw.randrange(len(weight.dims))] = draw.choice(NUMBERS)
    else:
        weight.dims.append(draw.choice(NUMBERS))


def _numbers(proto: ModelProto, some: object, weight: TensorProto, names: object, draw: random.Random) -> None:
    if weight is None:
        return
    action = draw.random()
    if action < 0.3:
        weight.data_type = draw.randrange(26)
    elif action < 0.5:
        weight.raw_data = weight.raw_data[: draw.randrange(max(len(weight.raw_data), 1))]
    elif action < 0.8:
        array = numpy_helper.to_array(weight).copy()
        if array.size:
            value = draw.choice(NUMBERS if array.dtype.kind == "i" else (float("nan"), float("inf"), 10.0, -1.0, 0.0))
            with np.errstate(all="ignore"):
                array.reshape(-1)[draw.randrange(array.size)] = np.array(value).astype(array.dtype)
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    else:
        weight.data_location = TensorProto.EXTERNAL
        keys = {"location": draw.choice(("/etc/passwd", "/dev/zero", "../x", "model.onnx", "", ".")), "length": "8"}
        for key, value in keys.items():
            weight.external_data.append(onnx.StringStringEntryProto(key=key, value=value))


def _names(proto: ModelProto, some: onnx.NodeProto, weight: TensorProto, names: list[str], draw: random.Random) -> None:
    name = draw.choice((*NAMES, *names))
    action = draw.random()
    if some is None:
        return
    if action < 0.3 and some.input:
        some.input[draw.randrange(len(some.input))] = name
    elif action < 0.5:
        some.output[draw.randrange(len(some.output))] = name
    elif action < 0.7:
        some.name = name
    elif action < 0.8 and weight is not None:
        weight.name = name
    elif action < 0.9:
        proto.graph.output[0].name = name
    else:
        some.input.append(name)


def _nodes(proto: ModelProto, some: onnx.NodeProto, weight: object, names: list[str], draw: random.Random) -> None:
    action = draw.random()
    if some is None:
        return
    if action < 0.5:
        some.op_type = draw.choice(OPERATORS)
    elif action < 0.6:
        some.domain = draw.choice(("com.microsoft", "ai.onnx", "ai.onnx.ml", "\u2028"))
    elif action < 0.7:
        proto.graph.node.remove(some)
    elif action < 0.8:
        proto.graph.node.append(copy.deepcopy(some))
    elif some.input:
        del some.input[draw.randrange(len(some.input)) :]


def _whole(proto: ModelProto, some: object, weight: object, names: list[str], draw: random.Random) -> None:
    actions: tuple[Callable[[], object], ...] = (
        lambda: proto.opset_import.append(helper.make_opsetid("", draw.choice(NUMBERS))),
        lambda: setattr(proto.opset_import[0], "version", draw.choice((1, 6, 7, 11, 13, 18, 21, 28, 99, 2**40))),
        lambda: setattr(proto, "ir_version", draw.choice(NUMBERS[1:12])),
        lambda: proto.graph.output.append(helper.make_empty_tensor_value_info(draw.choice(names))),
        lambda: proto.graph.input.append(helper.make_tensor_value_info(draw.choice(names), 1, [1])),
        lambda: setattr(proto.graph.input[0].type.tensor_type, "elem_type", draw.randrange(26)),
        lambda: proto.graph.input[0].type.Clear(),
        lambda: proto.graph.ClearField("initializer"),
        lambda: proto.graph.ClearField("output"),
        lambda: proto.functions.append(onnx.FunctionProto(name="Relu")),
        lambda: proto.graph.sparse_initializer.append(onnx.SparseTensorProto()),
    )
    draw.choice(actions)()


_CHANGES = (_attribute, _attribute, _shape, _numbers, _numbers, _names, _nodes, _nodes, _whole)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Cut off, or with some bytes changed."""
    if draw.random() < 0.3:
        return data[: draw.randrange(len(data))]
    copy_ = bytearray(data)
    for _ in range(draw.choice((1, 1, 4, 32))):
        copy_[draw.randrange(min(len(copy_), draw.choice((200, len(copy_)))))] = draw.randrange(256)
    return bytes(copy_)


def file_of(protos: list[ModelProto], draw: random.Random) -> bytes:
    """The bytes of a mutated model."""
    proto = copy.deepcopy(draw.choice(protos))
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
        changed(proto, draw)
    data: bytes = proto.SerializeToString()
    return damaged(data, draw) if draw.random() < 0.2 else data


def outcome(path: Path) -> str:
    """What opening the file came to."""
    try:
        found = import_onnx(path)
    except CheckpointError as error:
        text = str(error)
        assert not FOREIGN_WORDS.search(text), text
        assert len(text) < 1500, text
        return "refused"
    images = torch.randn(2, found.image.channels, *found.image.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        embeddings = found.network(images)
    assert embeddings.dim() == 2, embeddings.shape
    if not bool(torch.isfinite(embeddings).all()):
        return "a network whose embeddings are not finite"
    return "not run by ONNX Runtime" if compare_with_onnx(found, images) is None else "a network"


def main() -> None:
    """Count; exit 1 for a hole."""
    arguments = parser(__doc__, count=2000).parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    protos = bases()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"

        def attempt(draw: random.Random, number: int) -> str:
            try:
                path.write_bytes(file_of(protos, draw))
            except (ValueError, TypeError, KeyError, onnx.onnx_cpp2py_export.checker.ValidationError) as error:
                return f"onnx writes no such file ({type(error).__name__})"
            begun = time.monotonic()
            found = outcome(path)
            seconds = time.monotonic() - begun
            return found if seconds <= SLOWEST else f"HOLE slow: {seconds:.0f} s"

        count_attempts(arguments, attempt)


if __name__ == "__main__":
    main()
