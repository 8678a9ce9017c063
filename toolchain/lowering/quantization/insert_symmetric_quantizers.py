"""Put symmetric quantizers where TensorRT wants Q/DQ: on the inputs of weighted operators and one residual branch.

TensorRT fuses a convolution with the operators behind it up to the next QuantizeLinear, so nothing stands between a
convolution and its activation or its addition, and an activation is a float operator inside the fused kernel
(NvInfer.h's rules of explicit quantization; the residual rule is that of NVIDIA's ModelOpt).

Requires: a graph with folded BatchNorms, without Maximum.
Ensures: every convolution and linear layer has a weight quantizer and reads a signed quantizer with zero point 0, or
the image, or one of these padded; each addition reads exactly one quantized operand, the one fewer weighted operators
lead to (the shortcut), or two where both are read by weighted operators as well; nothing else is quantized. With all
quantizers disabled the float function is unchanged.
"""

from __future__ import annotations

from torch import fx

from efq.toolchain.graph.operations import Add, ImageInput, Pad, QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, insert_after, module_of, producer
from efq.toolchain.lowering.quantization.quantize_weights import quantize_weights
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.recipes.recipe import Recipe


def insert_symmetric_quantizers(network: fx.GraphModule, recipe: Recipe) -> PassResult:
    """Insert in place; the scales are still to be set by `start_ranges`."""
    quantize_weights(network, recipe, kinds=(QuantizedConv2d, QuantizedLinear))
    return PassResult(changed=len(insert_quantizers_where_read(network, bits=recipe.activation_bits)))


def insert_quantizers_where_read(network: fx.GraphModule, *, bits: int) -> dict[fx.Node, ActivationQuantizer]:
    """Insert activation quantizers in place; each by the node whose output it quantizes."""
    inserted = {}
    for source, users in _quantized_readers(network).items():
        inserted[source] = ActivationQuantizer(bits=bits, signed=True)
        behind = insert_after(network, source, f"{source.target}_quantizer", inserted[source], (source,))
        for user in users:
            user.replace_input_with(source, behind)
    network.delete_all_unused_submodules()
    network.recompile()
    return inserted


def _quantized_readers(network: fx.GraphModule) -> dict[fx.Node, list[fx.Node]]:
    """Each node whose output is to be quantized, in graph order, and those of its readers that read it quantized."""
    readers: dict[fx.Node, list[fx.Node]] = {}
    for node, _ in calls(network, QuantizedConv2d, QuantizedLinear):
        reader = _before_pads(network, node)
        source = producer(reader)
        if not isinstance(module_of(network, source), ImageInput) and reader not in readers.get(source, ()):
            readers.setdefault(source, []).append(reader)
    depths = _depths(network)
    for node, _ in calls(network, Add):
        operands = sorted(dict.fromkeys(node.all_input_nodes), key=lambda operand: depths[operand])
        shared = [operand for operand in operands if operand in readers]
        for operand in shared or operands[:1]:
            readers.setdefault(operand, []).append(node)
    return {node: readers[node] for node in network.graph.nodes if node in readers}


def _before_pads(network: fx.GraphModule, node: fx.Node) -> fx.Node:
    """`node`, or the first of the Pads in front of it that only convolutions read: those pad on the integers."""
    while isinstance(module_of(network, before := producer(node)), Pad):
        if not all(isinstance(module_of(network, user), QuantizedConv2d | Pad) for user in before.users):
            break
        node = before
    return node


def _depths(network: fx.GraphModule) -> dict[fx.Node, int]:
    """The most weighted operators on any way from the image to each node."""
    depths: dict[fx.Node, int] = {}
    for node in network.graph.nodes:
        before = max((depths[source] for source in node.all_input_nodes), default=0)
        depths[node] = before + isinstance(module_of(network, node), QuantizedConv2d | QuantizedLinear)
    return depths
