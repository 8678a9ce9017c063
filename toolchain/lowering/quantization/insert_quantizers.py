"""Put a quantizer on every weight and on every tensor that an integer kernel reads.

Requires: a graph without ChannelAffine in front of a weighted operation it could be absorbed into, and without PReLU.
Ensures: each weighted operation has a weight quantizer; each tensor between integer kernels has an activation
quantizer (both branches of residual adds, the embedding layer's input); both operands of a maximum pass the same one;
a ReLU is the clamp of the unsigned quantizer in its place; a gate is on a grid of 0 to 1 and it and what it is computed
from have 8 bits; the embedding itself stays float32. With all quantizers
disabled the float function is unchanged.
"""

from __future__ import annotations

from torch import fx, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.operations import (
    SCALE_PRESERVING,
    WEIGHTED,
    ChannelAffine,
    ClippedRelu,
    ImageInput,
    Maximum,
)
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.source_lines import described
from efq.toolchain.graph.traversal import calls, free_name, gate_branches, is_flat, module_of, producer, replace_module
from efq.toolchain.lowering.quantization.narrow_for_products import takes_few_bits
from efq.toolchain.lowering.quantization.quantize_weights import quantize_weights
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.recipes.recipe import Recipe

_RELU = (nn.ReLU, nn.ReLU6, ClippedRelu)
_GATES = (nn.Sigmoid, nn.Hardsigmoid)


def insert_quantizers(network: fx.GraphModule, recipe: Recipe) -> PassResult:
    """Insert in place; the scales are still to be set by `start_ranges`."""
    kept = quantize_weights(network, recipe)
    gates = gate_branches(network) | {node for node, _ in calls(network, *_GATES)}
    inserted = 0
    for node in list(network.graph.nodes):
        module = module_of(network, node)
        if isinstance(module, ChannelAffine):
            _require_maps(network, node)
        if isinstance(module, _RELU) and _is_embedding(node):
            message = (
                f"{described(node, network)} is the last layer: runtimes compute the linear layer before it in float "
                "then; expected an embedding without an activation"
            )
            raise LoweringError(message)
        if module is None or isinstance(module, (ImageInput, *SCALE_PRESERVING)) or _is_embedding(node):
            continue
        if isinstance(module, _RELU):
            bits = 8 if str(producer(node).target) in kept or node in gates else _bits(network, node, recipe)
            quantizer = ActivationQuantizer(bits=bits, signed=False, upper_bound=_upper_bound(module))
            replace_module(network, node, quantizer)
            inserted += 1
        elif (shared := _quantizer_of_maximum(network, node)) is not None:
            _quantize_behind(network, node, shared)
            inserted += 1
        elif not _only_read_by_relu(network, node):
            bits = 8 if str(node.target) in kept or node in gates else _bits(network, node, recipe)
            _insert_behind(network, node, module, bits, learn_zero_point=recipe.activation_zero_points)
            inserted += 1
    network.recompile()
    return PassResult(changed=inserted)


def _upper_bound(relu: nn.Module) -> float | None:
    if isinstance(relu, ClippedRelu):
        return relu.upper_bound
    return 6.0 if isinstance(relu, nn.ReLU6) else None


def _bits(network: fx.GraphModule, node: fx.Node, recipe: Recipe) -> int:
    if recipe.elementwise_8bit == "none":
        return recipe.activation_bits
    prelus = recipe.elementwise_8bit == "all"
    narrow = all(takes_few_bits(network, user, prelus=prelus) for user in node.users)
    return recipe.activation_bits if narrow else 8


def _require_maps(network: fx.GraphModule, node: fx.Node) -> None:
    """A ChannelAffine is a depthwise convolution: it takes (N, C, H, W), not the (N, C) of a linear layer."""
    if is_flat(network, producer(node)):
        message = (
            f"{described(node)}, a BatchNorm on flattened features, has no integer form: expected it next to a "
            "linear layer that takes it in, with nothing else between or reading it"
        )
        raise LoweringError(message)


def _is_embedding(node: fx.Node) -> bool:
    return all(user.op == "output" for user in node.users)


def _only_read_by_relu(network: fx.GraphModule, node: fx.Node) -> bool:
    """A ReLU beside other readers reads a quantizer, and clamps its numbers with one of its own."""
    return all(isinstance(module_of(network, user), _RELU) for user in node.users) and len(node.users) == 1


def _insert_behind(
    network: fx.GraphModule, node: fx.Node, module: nn.Module, bits: int, *, learn_zero_point: bool
) -> None:
    is_gate = isinstance(module, _GATES)
    signed = isinstance(module, WEIGHTED) or any(_is_signed(network, source) for source in node.all_input_nodes)
    quantizer = (
        ActivationQuantizer(bits=bits, signed=False, upper_bound=1.0)
        if is_gate
        else ActivationQuantizer(bits=bits, signed=signed, learn_zero_point=learn_zero_point)
    )
    name = free_name(network, f"{node.target}_quantizer")
    network.add_submodule(name, quantizer)
    _quantize_behind(network, node, name)


def _quantize_behind(network: fx.GraphModule, node: fx.Node, name: str) -> None:
    with network.graph.inserting_after(node):
        behind = network.graph.call_module(name, (node,))
    node.replace_all_uses_with(behind, delete_user_cb=lambda user: user is not behind)


def _quantizer_of_maximum(network: fx.GraphModule, node: fx.Node) -> str | None:
    """The name of the quantizer that `node`, the second operand of a Maximum, has to share with the first."""
    (reader, *others) = node.users
    if others or not isinstance(module_of(network, reader), Maximum) or reader.args[1] is not node:
        return None
    first = reader.all_input_nodes[0]
    while isinstance(module_of(network, first), SCALE_PRESERVING):
        first = producer(first)
    return str(first.target)


def _is_signed(network: fx.GraphModule, node: fx.Node) -> bool:
    module = module_of(network, node)
    if isinstance(module, ActivationQuantizer):
        return module.signed
    if isinstance(module, SCALE_PRESERVING):
        return _is_signed(network, producer(node))
    return True
