"""Networks as EFQ exports them have no finding; any one change into a bad pattern is found at the node changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tensorrt_graphs import exported

from efq.export.targets.tensorrt.lint import lint

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
PRODUCTS = ("Conv", "Gemm")
ACTIVATIONS = ("PRelu", "Relu")


class Mutant:
    """A model and a random choice of the node to change."""

    def __init__(self, model: onnx.ModelProto, choose: Callable[[list[Any]], Any]) -> None:
        self.model, self.graph, self.choose = model, model.graph, choose

    def node(self, *operators: str, where: Callable[[onnx.NodeProto], bool] = lambda node: True) -> onnx.NodeProto:
        found: onnx.NodeProto = self.choose(
            [node for node in self.graph.node if node.op_type in operators and where(node)]
        )
        return found

    def producer(self, name: str) -> onnx.NodeProto:
        return next(node for node in self.graph.node if name in node.output)

    def is_weight(self, node: onnx.NodeProto) -> bool:
        return node.input[0] in {tensor.name for tensor in self.graph.initializer}

    def array(self, name: str) -> NDArray[Any]:
        return numpy_helper.to_array(next(tensor for tensor in self.graph.initializer if tensor.name == name))

    def put(self, node: onnx.NodeProto, index: int, array: Any) -> None:
        """A new initializer as input `index` of `node`."""
        name = f"mutation{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        while len(node.input) <= index:
            node.input.append("")
        node.input[index] = name

    def insert(self, reader: onnx.NodeProto, operator: str, *constants: Any) -> onnx.NodeProto:
        """A new node between input 0 of `reader` and `reader`."""
        node = helper.make_node(operator, [reader.input[0]], [f"{reader.name}.{operator}"], f"{reader.name}.{operator}")
        for index, constant in enumerate(constants, start=1):
            self.put(node, index, constant)
        position = next(i for i, other in enumerate(self.graph.node) if other is reader or other.name == reader.name)
        self.graph.node.insert(position, node)
        reader.input[0] = node.output[0]
        return node


Mutation = Callable[[Mutant], tuple[str, str]]  # gives the rule and the node that must be found


def zero_point(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node(*QUANTIZERS)
    mutant.put(node, 2, np.full_like(mutant.array(node.input[1]), 5, dtype=np.int8))
    return "zero-point-not-zero", node.name


def scale_not_positive(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node(*QUANTIZERS)
    scale = mutant.array(node.input[1]).copy()
    scale.flat[mutant.choose(list(range(scale.size)))] = mutant.choose([0.0, -0.1, np.nan])
    mutant.put(node, 1, scale)
    return "scale-not-positive", node.name


def scale_too_large(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node(*QUANTIZERS)
    mutant.put(node, 1, np.full_like(mutant.array(node.input[1]), mutant.choose([np.inf, 1000.0])))
    return "scale-too-large", node.name


def scale_subnormal(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node(*QUANTIZERS)
    mutant.put(node, 1, np.full_like(mutant.array(node.input[1]), mutant.choose([6e-8, 1e-6])))
    return "scale-subnormal", node.name


def scale_as_input(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node(*QUANTIZERS)
    shape = mutant.array(node.input[1]).shape
    mutant.graph.input.append(helper.make_tensor_value_info("mutation", TensorProto.FLOAT16, shape))
    node.input[1] = "mutation"
    return "scale-not-constant", node.name


def scale_with_one_element(mutant: Mutant) -> tuple[str, str]:
    node = mutant.producer(mutant.node("Conv").input[0])
    mutant.put(node, 1, mutant.array(node.input[1]).reshape(1))
    return "activation-scale-not-scalar", node.name


def unsigned(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node("QuantizeLinear")
    mutant.put(node, 2, np.uint8(0))
    return "unsigned-activation", node.name


def weight_axis(mutant: Mutant) -> tuple[str, str]:
    square = mutant.node(
        "DequantizeLinear", where=lambda node: node.name.startswith("block") and mutant.is_weight(node)
    )
    next(attribute for attribute in square.attribute if attribute.name == "axis").i = 1
    return "weight-axis", square.name


def float_weight(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node(*PRODUCTS)
    integers = mutant.array(mutant.producer(node.input[1]).input[0])
    mutant.put(node, 1, integers.astype(np.float16))
    return "activation-only-operator", node.name


def float_data(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node("Conv")
    node.input[0] = mutant.producer(mutant.producer(node.input[0]).input[0]).input[0]
    return "weight-only-convolution", node.name


def relu_behind_dequantize(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node("Conv")
    mutant.insert(node, "Relu")
    return "weight-only-convolution", node.name


def int32_bias(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node(*PRODUCTS)
    size = mutant.array(node.input[2]).size
    bias = helper.make_node("DequantizeLinear", ["", ""], ["mutation.out"], "mutation", axis=0)
    mutant.put(bias, 0, np.ones(size, np.int32))
    mutant.put(bias, 1, np.full(size, 0.01, np.float16))
    mutant.graph.node.insert(0, bias)
    node.input[2] = "mutation.out"
    return "int32-bias", "mutation"


def float32_bias(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node(*PRODUCTS)
    mutant.put(node, 2, mutant.array(node.input[2]).astype(np.float32))
    return "float-types-differ", node.name


def nan_bias(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node(*PRODUCTS)
    mutant.put(node, 2, np.full_like(mutant.array(node.input[2]), np.nan))
    return "constant-not-finite", node.name


def quantizer_before_activation(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node(*ACTIVATIONS)
    early = mutant.insert(node, "QuantizeLinear", np.float16(0.1), np.int8(0))
    mutant.insert(node, "DequantizeLinear", np.float16(0.1))
    return "quantized-before-activation", early.name


def second_quantizer(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node("Conv")
    second = mutant.insert(node, "QuantizeLinear", np.float16(0.2), np.int8(0))
    mutant.insert(node, "DequantizeLinear", np.float16(0.2))
    return "quantized-twice", second.name


def packed_int4(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node("Conv")
    weight = mutant.producer(node.input[1])
    packed = helper.make_tensor(
        "mutation",
        TensorProto.INT4,
        mutant.array(weight.input[0]).shape,
        np.zeros(mutant.array(weight.input[0]).size, np.int32),
    )
    mutant.graph.initializer.append(packed)
    weight.input[0] = "mutation"
    return "quantized-types-differ", node.name


def custom_operator(mutant: Mutant) -> tuple[str, str]:
    node = mutant.node(*ACTIVATIONS)
    node.domain = "com.example"
    mutant.model.opset_import.append(helper.make_opsetid("com.example", 1))
    return "custom-operator", node.name


MUTATIONS: tuple[Mutation, ...] = (
    zero_point,
    scale_not_positive,
    scale_too_large,
    scale_subnormal,
    scale_as_input,
    scale_with_one_element,
    unsigned,
    weight_axis,
    float_weight,
    float_data,
    relu_behind_dequantize,
    int32_bias,
    float32_bias,
    nan_bias,
    quantizer_before_activation,
    second_quantizer,
    packed_int4,
    custom_operator,
)
networks = st.builds(
    exported, seed=st.integers(0, 2**16), blocks=st.integers(1, 3), activation=st.sampled_from(ACTIVATIONS)
)


@settings(max_examples=25, deadline=None)
@given(network=networks)
def test_exported_networks_have_no_finding(network: onnx.ModelProto) -> None:
    assert lint(network) == ()


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(network=networks, mutation=st.sampled_from(MUTATIONS), data=st.data())
def test_any_one_bad_change_is_found(network: onnx.ModelProto, mutation: Mutation, data: st.DataObject) -> None:
    rule, node = mutation(Mutant(network, lambda choices: data.draw(st.sampled_from(choices))))
    assert (rule, node) in {(finding.rule, finding.node) for finding in lint(network)}
