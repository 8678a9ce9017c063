"""Each ONNX operator against ONNX Runtime, in the forms that exporters of different opsets write."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto
from onnx_graphs import check, flat, kinds, model, node, random

OPSETS = (7, 9, 11, 13, 17, 21)
_FEW = settings(max_examples=15, deadline=None)


def same(proto: ModelProto, **options: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return check(proto, Path(folder), **options)


def numbers_as(opset: int, since: int, name: str, values: list[int], weight: str = "") -> Any:
    """Attributes, weights and names of inputs for whole numbers that are an input since an opset."""
    if opset < since:
        return {name: values}, {}, []
    return {}, {weight or name: np.array(values, dtype=np.int64)}, [weight or name]


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": [draw(st.integers(1, 3)) for _ in range(2)]}
    automatic = ("SAME_UPPER", "SAME_LOWER", "VALID")
    reaching = all(size >= step for size, step in zip(kernel, attributes["strides"], strict=True))
    # ONNX Runtime runs no pool SAME whose windows leave pixels out.
    padding = draw(st.sampled_from(("none", "even", "uneven", *(automatic if reaching else ()))))
    if padding.isupper():
        return attributes | {"auto_pad": padding}
    most = [size - 1 for size in kernel]
    if padding == "even":
        begin = [draw(st.integers(0, size)) for size in most]
        attributes["pads"] = [*begin, *begin]
    elif padding == "uneven":
        attributes["pads"] = [draw(st.integers(0, size)) for size in (*most, *most)]
    return attributes


@_FEW
@given(windows(), st.sampled_from((1, 3)), st.booleans(), st.integers(1, 2), st.sampled_from(OPSETS))
def test_convolutions(window: dict[str, Any], groups: int, bias: bool, dilation: int, opset: int) -> None:
    assume(dilation == 1 or "auto_pad" not in window)
    weight = random(6, 3 // groups, *window["kernel_shape"])
    weights = {"w": weight} | ({"b": random(6)} if bias else {})
    attributes = window | {"group": groups, "dilations": [dilation] * 2}
    found = same(flat([node("Conv", ["x", *weights], **attributes)], weights, opset=opset))
    assert kinds(found) == ["Conv2d"]


@_FEW
@given(windows(), st.booleans(), st.sampled_from((10, 11, 17, 21)))
def test_largest_of_windows(window: dict[str, Any], ceil_mode: bool, opset: int) -> None:
    assume(not ceil_mode or "auto_pad" not in window)
    found = same(flat([node("MaxPool", ["x"], **window, ceil_mode=int(ceil_mode))], opset=opset))
    assert kinds(found) == ["MaxPool2d"]


@_FEW
@given(windows(), st.booleans(), st.booleans(), st.sampled_from((10, 11, 17, 21)))
def test_means_of_windows(window: dict[str, Any], ceil_mode: bool, counted: bool, opset: int) -> None:
    assume(not ceil_mode or "auto_pad" not in window)
    attributes = window | {"ceil_mode": int(ceil_mode), "count_include_pad": int(counted)}
    assert kinds(same(flat([node("AveragePool", ["x"], **attributes)], opset=opset))) == ["AvgPool2d"]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool"])
def test_pools_of_the_whole_image(kind: str, opset: int) -> None:
    conv = node("Conv", ["x", "w"], "c")
    same(flat([conv, node(kind, ["c"])], {"w": random(20, 3, 3, 3)}, opset=opset))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("added", [None, (16,), (1, 16), (1,), ()])
def test_gemm(opset: int, transposed: int, added: tuple[int, ...] | None) -> None:
    weights = {"w": random(*((16, 270) if transposed else (270, 16)))}
    if added is not None:
        weights["c"] = random(*added)
    nodes = [node("Flatten", ["x"], "f"), node("Gemm", ["f", *weights], alpha=0.3, beta=1.7, transB=transposed)]
    if added is None and opset < 11:
        pytest.skip("C may be left out since opset 11")
    assert kinds(same(model(nodes, weights, opset=opset))) == ["Linear"]


@pytest.mark.parametrize("shape", [(16,), (1, 16), (1,)])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_product_and_a_sum_are_a_linear_layer(shape: tuple[int, ...], swapped: bool) -> None:
    weights = {"w": random(270, 16), "b": random(*shape)}
    inputs = ["b", "m"] if swapped else ["m", "b"]
    nodes = [node("Flatten", ["x"], "f"), node("MatMul", ["f", "w"], "m"), node("Add", inputs)]
    found = same(model(nodes, weights))
    assert kinds(found) == ["Linear"]
    assert (found.network.get_submodule("MatMul_m").bias is None) == (shape == (1,))


@pytest.mark.parametrize("opset", OPSETS)
def test_batch_norm(opset: int) -> None:
    statistics = {"s": random(3), "b": random(3, seed=1), "m": random(3, seed=2), "v": np.abs(random(3, seed=3)) + 0.1}
    options = {"spatial": 1} if opset < 9 else {}
    found = same(
        flat([node("BatchNormalization", ["x", *statistics], epsilon=1e-3, **options)], statistics, opset=opset)
    )
    assert kinds(found) == ["BatchNorm2d"]
    rows = [node("Flatten", ["x"], "f"), node("Gemm", ["f", "w", "c"], "g"), node("BatchNormalization", ["g", *"sbmv"])]
    statistics = {name: np.abs(random(20, seed=place)) for place, name in enumerate("sbmv")}
    found = same(model(rows, statistics | {"w": random(270, 20), "c": random(20)}, opset=opset))
    assert kinds(found) == ["Linear", "BatchNorm1d"]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 1, 1), (1,), (1, 1, 1), (10,), (3, 9, 10)])
def test_slopes_of_prelus(opset: int, shape: tuple[int, ...]) -> None:
    found = same(flat([node("PRelu", ["x", "a"])], {"a": random(*shape)}, opset=opset))
    assert ("PReLU" in kinds(found)) == ((len(shape) > 1 and shape != (3, 9, 10)) or shape == (1,))


def test_slopes_of_a_vector() -> None:
    nodes = [node("Flatten", ["x"], "f"), node("Gemm", ["f", "w", "c"], "g"), node("PRelu", ["g", "a"])]
    assert kinds(same(model(nodes, {"w": random(270, 20), "c": random(20), "a": random(20)}))) == ["Linear", "PReLU"]


ACTIVATIONS: dict[str, tuple[dict[str, Any], int, str]] = {
    "Relu": ({}, 7, "ReLU"),
    "LeakyRelu": ({"alpha": 0.2}, 7, "LeakyReLU"),
    "Sigmoid": ({}, 7, "Sigmoid"),
    "Tanh": ({}, 7, "Tanh"),
    "Elu": ({"alpha": 0.7}, 7, "ELU"),
    "Softplus": ({}, 7, "Softplus"),
    "Softsign": ({}, 7, "Softsign"),
    "HardSigmoid": ({"alpha": 1 / 6, "beta": 0.5}, 7, "Hardsigmoid"),
    "HardSwish": ({}, 14, "Hardswish"),
    "Mish": ({}, 18, "Mish"),
    "Gelu": ({"approximate": "tanh"}, 20, "GELU"),
    "Celu": ({"alpha": 0.7}, 12, "CELU"),
    "ThresholdedRelu": ({"alpha": 0.3}, 10, "Threshold"),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations(kind: str) -> None:
    attributes, since, layer = ACTIVATIONS[kind]
    for opset in (max(since, 11), 21):
        assert kinds(same(flat([node(kind, ["x"], **attributes)], opset=opset), scale=3.0)) == [layer]


def test_a_hard_sigmoid_of_keras() -> None:
    assert kinds(same(flat([node("HardSigmoid", ["x"])]), scale=3.0)) == []


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("low", "high", "layers"), [(0, 6, ["ReLU6"]), (0, None, ["ReLU"]), (-1, 0.5, []), (None, 2, [])]
)
def test_clips(opset: int, low: float | None, high: float | None, layers: list[str]) -> None:
    bounds = {name: value for name, value in (("min", low), ("max", high)) if value is not None}
    if opset < 11:
        proto = flat([node("Clip", ["x"], **{name: float(value) for name, value in bounds.items()})], opset=opset)
    else:
        names = ["min" if low is not None else "", "max" if high is not None else ""]
        weights = {name: np.float32(value) for name, value in bounds.items()}
        proto = flat([node("Clip", ["x", *names])], weights, opset=opset)
    assert kinds(same(proto, scale=4.0)) == layers


PATTERNS: dict[str, tuple[list[NodeProto], dict[str, Any], list[str]]] = {
    "SiLU": ([node("Sigmoid", ["x"], "s"), node("Mul", ["x", "s"])], {}, ["SiLU"]),
    "Hardswish": (
        [
            node("Add", ["x", "three"], "a"),
            node("Clip", ["a", "zero", "six"], "c"),
            node("Mul", ["x", "c"], "m"),
            node("Div", ["m", "six"]),
        ],
        {"three": np.float32(3), "six": np.float32(6), "zero": np.float32(0)},
        ["Hardswish"],
    ),
    "Hardswish of a gate": (
        [
            node("Add", ["x", "three"], "a"),
            node("Clip", ["a", "zero", "six"], "c"),
            node("Mul", ["c", "sixth"], "d"),
            node("Mul", ["d", "x"]),
        ],
        {"three": np.float32(3), "six": np.float32(6), "zero": np.float32(0), "sixth": np.float32(1 / 6)},
        ["Hardswish"],
    ),
    "Hardswish of Hardsigmoid": (
        [node("HardSigmoid", ["x"], "h", alpha=1 / 6), node("Mul", ["h", "x"])],
        {},
        ["Hardswish"],
    ),
    "GELU": (
        [
            node("Div", ["x", "root"], "d"),
            node("Erf", ["d"], "e"),
            node("Add", ["e", "one"], "a"),
            node("Mul", ["x", "a"], "m"),
            node("Mul", ["m", "half"]),
        ],
        {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)},
        ["GELU"],
    ),
    "PReLU of Keras": (
        [
            node("Relu", ["x"], "p"),
            node("Neg", ["x"], "n"),
            node("Relu", ["n"], "q"),
            node("Mul", ["q", "slopes"], "m"),
            node("Add", ["p", "m"]),
        ],
        {"slopes": random(3, 1, 1)},
        ["PReLU"],
    ),
    "PReLU of absolute values": (
        [
            node("Relu", ["x"], "p"),
            node("Abs", ["x"], "n"),
            node("Sub", ["x", "n"], "q"),
            node("Mul", ["slopes", "q"], "m"),
            node("Mul", ["m", "half"], "o"),
            node("Add", ["o", "p"]),
        ],
        {"slopes": random(1, 3, 1, 1), "half": np.float32(0.5)},
        ["PReLU"],
    ),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_activations_written_as_several_operators(name: str) -> None:
    nodes, weights, layers = PATTERNS[name]
    assert kinds(same(flat(nodes, weights), scale=4.0)) == layers


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (1, 3, 1, 1), (10,), (1, 1, 9, 10)])
def test_arithmetic_with_constants(kind: str, shape: tuple[int, ...]) -> None:
    constant = np.abs(random(*shape)) + 0.5
    for inputs in (["x", "c"], ["c", "x"]):
        same(flat([node(kind, inputs)], {"c": constant}, opset=13), scale=0.01 if kind == "Div" else 1.0)


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean"])
def test_arithmetic_of_two_tensors(kind: str) -> None:
    nodes = [node("Relu", ["x"], "r"), node("Tanh", ["x"], "t"), node(kind, ["r", "t"])]
    same(flat(nodes, opset=13))
    gate = [node("GlobalAveragePool", ["x"], "g"), node(kind, ["g", "x"])]
    same(flat(gate, opset=13))


@pytest.mark.parametrize("kind", ["Abs", "Neg", "Exp", "Erf", "Floor", "Ceil", "Sign", "Sqrt", "Log", "Reciprocal"])
def test_functions(kind: str) -> None:
    nodes = [node("Abs", ["x"], "a"), node("Add", ["a", "c"], "b"), node(kind, ["b"])]
    same(flat(nodes, {"c": np.float32(0.5)}, opset=13))


def test_powers() -> None:
    same(flat([node("Pow", ["x", "c"])], {"c": np.float32(2)}, opset=13))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("kind", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2", "ReduceL1", "ReduceSumSquare"])
@pytest.mark.parametrize("keeps", [0, 1])
def test_reductions(opset: int, kind: str, keeps: int) -> None:
    attributes, weights, inputs = numbers_as(opset, 13 if kind == "ReduceSum" else 18, "axes", [-1, 2])
    nodes = [node("Conv", ["x", "w"], "c"), node(kind, ["c", *inputs], keepdims=keeps, **attributes)]
    same(flat(nodes, weights | {"w": random(20, 3, 3, 3)}, opset=opset))


@pytest.mark.parametrize("opset", OPSETS)
def test_squeezes(opset: int) -> None:
    gone, weights, inputs = numbers_as(opset, 13, "axes", [2, 3])
    new, more, places = numbers_as(opset, 13, "axes", [1], "new")
    nodes = [
        node("Conv", ["x", "w"], "c"),
        node("GlobalAveragePool", ["c"], "g"),
        node("Squeeze", ["g", *inputs], "s", **gone),
        node("Unsqueeze", ["s", *places], **new),
    ]
    same(flat(nodes, {"w": random(20, 3, 3, 3), **weights, **more}, opset=opset))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(("starts", "ends", "axes"), [([1], [3], [1]), ([-4, 0], [2**31 - 1, 7], [2, 3])])
def test_slices(opset: int, starts: list[int], ends: list[int], axes: list[int]) -> None:
    if opset < 10:
        same(flat([node("Slice", ["x"], starts=starts, ends=ends, axes=axes)], opset=opset))
        return
    bounds = {
        "starts": np.array(starts),
        "ends": np.array(ends),
        "axes": np.array(axes),
        "steps": np.ones(len(axes), int),
    }
    same(flat([node("Slice", ["x", *bounds])], bounds, opset=opset))
    bounds = {"starts": np.array([-1]), "ends": np.array([-99]), "axes": np.array([1]), "steps": np.array([-1])}
    same(flat([node("Slice", ["x", *bounds])], bounds, opset=opset))
    bounds = {"starts": np.array([0]), "ends": np.array([9]), "axes": np.array([2]), "steps": np.array([2])}
    same(flat([node("Slice", ["x", *bounds])], bounds, opset=opset))


@pytest.mark.parametrize("opset", OPSETS)
def test_splits_and_concatenations(opset: int) -> None:
    attributes, weights, inputs = numbers_as(opset, 13, "split", [1, 2])
    nodes = [
        node("Split", ["x", *inputs], ["a", "b"], axis=1, **attributes),
        node("Relu", ["a"], "r"),
        node("Concat", ["b", "r"], axis=1),
    ]
    same(flat(nodes, weights, opset=opset))
    equal = {"num_outputs": 2} if opset >= 18 else {}
    nodes = [node("Split", ["x"], ["a", "b"], axis=-1, **equal), node("Concat", ["b", "a"], axis=3)]
    same(flat(nodes, opset=opset))


@pytest.mark.parametrize("places", [[2, 1, 0], [0, 1, 2], [1], [-1, 0]])
def test_channels_are_gathered(places: list[int]) -> None:
    same(flat([node("Gather", ["x", "i"], axis=1)], {"i": np.array(places)}))
    same(flat([node("Gather", ["x", "i"], axis=1)], {"i": np.array(places[0])}))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("pads", [[0, 0, 1, 1, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0, 2, 0], [0, 1, 0, 0, 0, 2, 0, 0]])
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_padding(opset: int, pads: list[int], mode: str) -> None:
    if mode != "constant" and pads[1]:
        pytest.skip("channels are padded with zeros only")
    attributes, weights, inputs = numbers_as(opset, 11, "pads", pads)
    channels = 3 + pads[1] + pads[5]
    nodes = [node("Pad", ["x", *inputs], "p", mode=mode, **attributes), node("Conv", ["p", "w"])]
    found = same(flat(nodes, weights | {"w": random(4, channels, 3, 3)}, opset=opset))
    even = mode == "constant" and pads == [0, 0, 1, 1, 0, 0, 1, 1]
    assert any("pad" in str(n.target) for n in found.network.graph.nodes) != even


@pytest.mark.parametrize("opset", OPSETS)
def test_l2_normalization_of_the_embedding(opset: int) -> None:
    head = [node("Flatten", ["x"], "f"), node("Gemm", ["f", "w", "b"], "g")]
    weights = {"w": random(270, 20), "b": random(20)}
    same(model([*head, node("LpNormalization", ["g"], axis=1, p=2)], weights, opset=opset))
    attributes, more, inputs = numbers_as(opset, 18, "axes", [1])
    nodes = [*head, node("ReduceL2", ["g", *inputs], "n", keepdims=1, **attributes), node("Div", ["g", "n"])]
    same(model(nodes, weights | more, opset=opset))


def test_dropout_identity_and_cast_change_nothing() -> None:
    nodes = [
        node("Identity", ["x"], "i"),
        node("Cast", ["i"], "c", to=1),
        node("Dropout", ["c"], ["d", "mask"]),
        node("Relu", ["d"]),
    ]
    found = same(flat(nodes))
    assert kinds(found) == ["ReLU"]
