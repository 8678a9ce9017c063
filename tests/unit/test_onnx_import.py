"""Forms of whole ONNX files: layouts, batches, types, external data, names, outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from messages import raises_naming
from networks import MEAN, NETWORKS, STD, random_rows, randomize
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import check, external, flat, imported, kinds, model, node, random
from torch import nn

from efq.runtime.errors import CheckpointError
from efq.toolchain.graph.from_onnx import compare_with_onnx, import_onnx
from efq.toolchain.graph.from_torch import trace

HEAD = {"w": random(20, 3, 3, 3), "k": random(20, 16)}


def pooled(*last: Any, **options: Any) -> Any:
    nodes = [node("Conv", ["x", "w"], "c"), node("GlobalAveragePool", ["c"], "g"), *last]
    return model(nodes, HEAD | options.pop("weights", {}), **options)


@pytest.mark.parametrize("first", [1, 4, "N"])
@pytest.mark.parametrize("target", [[1, -1], [1, 20], [-1, 20], [0, -1]])
def test_any_number_of_images_is_taken(tmp_path: Path, first: int | str, target: list[int]) -> None:
    if target[0] == 1 and first == 4:
        target = [4, target[1]]
    if target[0] == 1 and first == "N":
        first = 1
    proto = pooled(node("Reshape", ["g", "t"]), weights={"t": np.array(target)}, shape=[first, 3, 9, 10])
    found = check(proto, tmp_path)
    assert found.network(torch.zeros(5, 3, 9, 10)).shape == (5, 20)


def test_a_batch_of_one_is_dropped_and_kept(tmp_path: Path) -> None:
    for last in (
        [node("Squeeze", ["g"])],
        [node("Squeeze", ["g", "a"])],
        [node("Reshape", ["g", "t"])],
        [node("Gather", ["g", "i"], "h", axis=0), node("Squeeze", ["h"])],
        [node("Squeeze", ["g", "a"], "s"), node("Unsqueeze", ["s", "i"])],
    ):
        weights = {"a": np.array([0, 2, 3]), "t": np.array([20]), "i": np.array([0])}
        found = check(pooled(*last, weights=weights, shape=[1, 3, 9, 10]), tmp_path)
        assert found.network(torch.zeros(5, 3, 9, 10)).shape == (5, 20)


@pytest.mark.parametrize("opset", [9, 13, 17])
def test_a_shape_computed_in_the_graph(tmp_path: Path, opset: int) -> None:
    axes: dict[str, Any] = {"axes": [0]} if opset < 13 else {}
    names = [] if opset < 13 else ["zero"]
    nodes = [
        node("Shape", ["g"], "s"),
        node("Constant", [], "place", value=numpy_helper.from_array(np.array(0), "")),
        node("Gather", ["s", "place"], "n"),
        node("Unsqueeze", ["n", *names], "u", **axes),
        node("Constant", [], "rest", value=numpy_helper.from_array(np.array([-1]), "")),
        node("Concat", ["u", "rest"], "t", axis=0),
        node("Reshape", ["g", "t"], "f"),
        node("MatMul", ["f", "k"]),
    ]
    found = check(pooled(*nodes, opset=opset, weights={"zero": np.array([0])}), tmp_path)
    assert kinds(found) == ["Conv2d", "AdaptiveAvgPool2d", "Linear"]
    assert found.network(torch.zeros(5, 3, 9, 10)).shape == (5, 16)


def test_images_with_channels_last(tmp_path: Path) -> None:
    """As Keras writes: each convolution between two transpositions, other operators in NHWC."""
    into, back = {"perm": [0, 3, 1, 2]}, {"perm": [0, 2, 3, 1]}
    nodes = [
        node("Sub", ["x", "mean"], "i"),
        node("Transpose", ["i"], "t", **into),
        node("Conv", ["t", "w"], "c"),
        node("Transpose", ["c"], "b", **back),
        node("Mul", ["b", "scale"], "m"),
        node("Add", ["m", "shift"], "a"),
        node("PRelu", ["a", "slope"], "p"),
        node("Concat", ["p", "a"], "d", axis=3),
        node("ReduceMean", ["d"], "g", axes=[1, 2], keepdims=1),
        node("Sigmoid", ["g"], "o"),
        node("Mul", ["d", "o"], "e"),
        node("Transpose", ["e"], "u", **into),
        node("Conv", ["u", "v"], "h"),
        node("Transpose", ["h"], "j", **back),
        node("Reshape", ["j", "flat"], "f"),
        node("MatMul", ["f", "k"]),
    ]
    weights = {"w": random(20, 3, 3, 3), "scale": random(20), "shift": random(1, 1, 1, 20), "mean": random(3)}
    weights |= {"slope": random(1, 1, 20), "v": random(4, 40, 3, 3), "k": random(120, 16)}
    weights["flat"] = np.array([-1, 120])
    found = check(model(nodes, weights, shape=["N", 9, 10, 3], opset=13), tmp_path)
    assert kinds(found) == ["Conv2d", "PReLU", "Sigmoid", "Conv2d", "Linear"]
    moved = [n for n in found.network.graph.nodes if n.target is torch.permute]
    assert len(moved) == 1, "only what is flattened in another order"


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
def test_floats_of_other_widths(tmp_path: Path, kind: int) -> None:
    def stored(values: Any, name: str) -> TensorProto:
        if kind == TensorProto.BFLOAT16:
            return helper.make_tensor(name, kind, values.shape, values.flatten().tolist())
        return numpy_helper.from_array(values.astype(np.float64 if kind == TensorProto.DOUBLE else np.float16), name)

    proto = flat([node("Conv", ["x", "w"])], shape=[1, 3, 9, 10], kind=kind)
    proto.graph.initializer.append(stored(random(4, 3, 3, 3), "w"))
    found = imported(proto, tmp_path)
    assert found.network(torch.zeros(2, 3, 9, 10)).dtype == torch.float32
    assert any("16" in note for note in found.notes) == (kind != TensorProto.DOUBLE)
    if kind == TensorProto.FLOAT16:
        assert compare_with_onnx(found, torch.randn(2, 3, 9, 10)) is not None


def test_weights_of_16_bits_in_constant_nodes(tmp_path: Path) -> None:
    """ONNX Runtime's embeddings of such a file are rounded in each layer, and no error of the importer."""
    weights = [random(*shape, seed=place).astype(np.float16) for place, shape in enumerate([(32, 3, 3, 3), (16, 1792)])]
    nodes = [
        node("Constant", [], "w", value=numpy_helper.from_array(weights[0], "")),
        node("Constant", [], "k", value=numpy_helper.from_array(weights[1], "")),
        node("Conv", ["x", "w"], "c"),
        node("Flatten", ["c"], "f"),
        node("Gemm", ["f", "k"], transB=1),
    ]
    found = imported(model(nodes, shape=["N", 3, 9, 10], kind=TensorProto.FLOAT16), tmp_path)
    assert any("16" in note for note in found.notes)
    assert compare_with_onnx(found, torch.randn(4, 3, 9, 10, generator=torch.Generator().manual_seed(0))) is not None


@pytest.mark.parametrize("axis", [0, 1, None])
def test_weights_of_whole_numbers(tmp_path: Path, axis: int | None) -> None:
    stored = np.random.default_rng(0).integers(-127, 128, (20, 3, 3, 3)).astype(np.int8)
    scale = np.float32(0.02) if axis is None else np.abs(random(stored.shape[axis])) + 0.01
    options = {} if axis is None else {"axis": axis}
    nodes = [node("DequantizeLinear", ["q", "s"], "w", **options), node("Conv", ["x", "w"])]
    found = check(flat(nodes, {"q": stored, "s": scale}), tmp_path)
    assert any("dequantized" in note for note in found.notes)
    assert kinds(found) == ["Conv2d"]


@pytest.mark.parametrize("signed", [True, False])
def test_weights_in_blocks_of_four_bits(tmp_path: Path, signed: bool) -> None:
    low, high, kind = (-8, 7, TensorProto.INT4) if signed else (0, 15, TensorProto.UINT4)
    generator = np.random.default_rng(0)
    stored = generator.integers(low, high + 1, (270, 16))
    weights = {"s": np.abs(random(9, 16)) + 0.01}
    nodes = [
        node("DequantizeLinear", ["q", "s", "z"], "w", axis=0, block_size=32),
        node("Flatten", ["x"], "f"),
        node("MatMul", ["f", "w"]),
    ]
    proto = model(nodes, weights, opset=21)
    proto.graph.initializer.append(helper.make_tensor("q", kind, stored.shape, stored.flatten().tolist()))
    zero = generator.integers(low, high + 1, (9, 16))
    proto.graph.initializer.append(helper.make_tensor("z", kind, zero.shape, zero.flatten().tolist()))
    check(proto, tmp_path)


@pytest.mark.parametrize("kind", ["QuantizeLinear", "QLinearConv", "DynamicQuantizeLinear", "ConvInteger"])
def test_quantized_networks_are_refused(tmp_path: Path, kind: str) -> None:
    with raises_naming(CheckpointError, "quantized", kind, "float"):
        imported(
            flat([node("Relu", ["x"], "r"), node(kind, ["r", "s", "zero"])], {"s": np.float32(1), "zero": np.int8(0)}),
            tmp_path,
        )


def test_weights_listed_as_inputs(tmp_path: Path) -> None:
    proto = flat([node("Conv", ["x", "w"])], {"w": random(4, 3, 3, 3)})
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3, 3, 3]))
    proto.graph.input.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [4]))
    check(proto, tmp_path)


def test_nodes_in_any_order(tmp_path: Path) -> None:
    proto = flat([node("Conv", ["x", "w"], "c"), node("Relu", ["c"], "r"), node("Tanh", ["r"])], HEAD)
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    assert kinds(imported(proto, tmp_path)) == ["Conv2d", "ReLU", "Tanh"]


def test_weights_beside_the_file(tmp_path: Path) -> None:
    found = import_onnx(external(flat([node("Conv", ["x", "w"])], {"w": random(4, 3, 3, 3)}), tmp_path))
    assert compare_with_onnx(found, torch.randn(2, 3, 9, 10)) is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"location": "/etc/passwd"},
        {"location": "../secret"},
        {"location": "/dev/zero"},
        {"location": "a/../../secret"},
        {"location": ""},
        {"location": "missing.data"},
        {"location": "link"},
        {"location": "folder"},
        {"location": "pipe"},
        {"offset": "4000"},
        {"offset": "-1"},
        {"length": "99999999999"},
        {"length": "4"},
        {"offset": "9" * 30},
        {"unknown": "1"},
    ],
)
def test_weights_elsewhere_are_not_read(tmp_path: Path, changed: dict[str, str]) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    folder = tmp_path / "models"
    (folder / "folder").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    proto = flat([node("Conv", ["x", "w"])], {"w": random(4, 3, 3, 3)})
    path = external(proto, folder, **changed)
    with raises_naming(CheckpointError, "'w'"):
        import_onnx(path)


def test_layers_are_named_as_their_weights_or_nodes_are(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "layer1.0.conv1.weight"], "c"),
        helper.make_node("Conv", ["c", "onnx::Conv_12"], ["d"], name="/layer1/layer1.0/conv2/Conv"),
        helper.make_node("Relu", ["d"], ["e"], name="a'); import os #"),
        helper.make_node("Relu", ["e"], ["f"], name="forward"),
        helper.make_node("Relu", ["f"], ["h"], name="import"),
        helper.make_node("Relu", ["h"], ["y"], name="layer1.0.conv1.weight.inside"),
    ]
    weights = {"layer1.0.conv1.weight": random(4, 3, 3, 3), "onnx::Conv_12": random(4, 4, 3, 3)}
    network = check(flat(nodes, weights), tmp_path).network
    names = [str(n.target) for n in network.graph.nodes if n.op == "call_module"]
    assert names == ["layer1.0.conv1", "layer1.0.conv2", "a_import_os", "relu_0", "relu_1", "relu_2"]


def test_the_embedding_of_several_outputs(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], "c"),
        node("GlobalAveragePool", ["c"], "g"),
        node("Flatten", ["g"], "e"),
        node("LpNormalization", ["e"], "n", axis=1),
        node("ReduceL2", ["e"], "q", axes=[1], keepdims=1),
        node("MatMul", ["n", "k"], "logits"),
    ]
    found = check(model(nodes, HEAD, outputs=("logits", "e", "q", "n", "c"), opset=13), tmp_path)
    assert found.output == "e"
    assert any("'e'" in note for note in found.notes)
    two = [*nodes, node("Flatten", ["g"], "other")]
    with raises_naming(CheckpointError, "e", "other"):
        imported(model(two, HEAD, outputs=("e", "other"), opset=13), tmp_path)


def test_no_output_is_an_embedding(tmp_path: Path) -> None:
    with raises_naming(CheckpointError, "embedding", "c"):
        imported(model([node("Conv", ["x", "w"], "c")], HEAD, outputs=("c",)), tmp_path)


def test_a_wrong_import_names_the_first_node_that_differs(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], "c"),
        node("Relu", ["c"], "r"),
        node("Conv", ["r", "v"], "d"),
        node("Tanh", ["d"]),
    ]
    found = imported(flat(nodes, HEAD | {"v": random(4, 20, 3, 3)}), tmp_path)
    layer = found.network.get_submodule("Conv_d")
    with torch.no_grad():
        layer.weight.mul_(1.1)  # type: ignore[operator,union-attr]
    with raises_naming(CheckpointError, "Conv", "'d'"):
        compare_with_onnx(found, torch.randn(2, 3, 9, 10))


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("Softmax", ("softmax",)),
        ("Resize", ("resized",)),
        ("If", ("control", "flow")),
        ("Loop", ("control", "flow")),
        ("DepthToSpace", ("pixels",)),
        ("Frobnicate", ("form",)),
    ],
)
def test_operators_without_a_torch_form_are_named(tmp_path: Path, kind: str, facts: tuple[str, ...]) -> None:
    with raises_naming(CheckpointError, kind, f"'{kind}_y'", "model.onnx", *facts):
        imported(flat([node("Relu", ["x"], "r"), node(kind, ["r"])]), tmp_path)


def test_an_operator_of_another_domain_is_named(tmp_path: Path) -> None:
    fused = helper.make_node("FusedConv", ["x", "w"], ["y"], name="fused", domain="com.microsoft")
    with raises_naming(CheckpointError, "'com.microsoft'", "'fused'"):
        imported(flat([fused], HEAD, domains=("com.microsoft",)), tmp_path)


@pytest.mark.parametrize(
    ("shape", "facts"),
    [((1, 2, 9, 10), ("1 x 2 x 9 x 10",)), ((1, 3, 5000, 5000), ("5000x5000",)), ((1, 3), ("(1, 3)",))],
)
def test_other_inputs_than_images(tmp_path: Path, shape: tuple[int, ...], facts: tuple[str, ...]) -> None:
    with raises_naming(CheckpointError, *facts):
        imported(flat([node("Relu", ["x"])], shape=shape), tmp_path)


def test_sizes_that_the_file_leaves_open(tmp_path: Path) -> None:
    proto = model(
        [node("Conv", ["x", "w"], "c"), node("GlobalAveragePool", ["c"], "g"), node("Flatten", ["g"])],
        HEAD,
        shape=["N", 3, "H", "W"],
    )
    found = imported(proto, tmp_path)
    assert (found.image.size, found.image.size_known) == ((112, 112), False)
    assert found.network(torch.zeros(2, 3, 160, 160)).shape == (2, 20)


def test_what_old_exporters_meant(tmp_path: Path) -> None:
    """Slopes of (C,), a BatchNorm of channels with spatial 0: ONNX Runtime refuses both."""
    nodes = [node("BatchNormalization", ["x", "s", "b", "m", "v"], "n", spatial=0), node("PRelu", ["n", "a"])]
    weights = {name: np.abs(random(3, seed=place)) for place, name in enumerate("sbmva")}
    found = imported(flat(nodes, weights, opset=8), tmp_path)
    assert kinds(found) == ["BatchNorm2d", "PReLU"]
    images = torch.randn(2, 3, 9, 10)
    s, b, m, v, a = (torch.from_numpy(weights[name]).reshape(3, 1, 1) for name in "sbmva")
    values = (images - m) / (v + 1e-5).sqrt() * s + b
    torch.testing.assert_close(found.network(images), torch.where(values > 0, values, a * values).flatten(1))


def test_old_opsets_are_refused(tmp_path: Path) -> None:
    with raises_naming(CheckpointError, "6", "7"):
        imported(flat([node("Relu", ["x"])], opset=6), tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_exported_and_imported_is_the_same_to_the_bit(tmp_path: Path, name: str) -> None:
    """As `torch.onnx.export` writes it with BatchNorms kept: the same names and numbers, so the same student."""
    network, images = randomize(NETWORKS[name]()), random_rows(2, 3, 28, 28)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3  # as float32 another number
    path = tmp_path / "model.onnx"
    kept = torch.onnx.TrainingMode.PRESERVE
    names = {"input_names": ["images"], "dynamic_axes": {"images": {0: "N"}}}
    torch.onnx.export(network, (images,), path, dynamo=False, opset_version=17, training=kept, **names)
    twin = import_onnx(path).network
    own, found = network.state_dict(), twin.state_dict()
    own = {key: value for key, value in own.items() if not key.endswith("num_batches_tracked")}
    assert {key: found[key] for key in own}.keys() == {key for key in found if "num_batches" not in key}
    assert all(torch.equal(found[key], value) for key, value in own.items())
    with torch.inference_mode():
        assert torch.equal(twin(images), network(images))
    graphs = [trace(each, MEAN, STD, height=28, width=28) for each in (network, twin)]
    weights = [list(graph.state_dict().values()) for graph in graphs]
    assert all(map(torch.equal, *weights))
