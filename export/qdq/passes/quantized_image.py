"""The image passes a QuantizeLinear of its own scale, which changes nothing but that a runtime takes it for quantized.

Requires: the image as ImageInput, which the stem on four pixels takes away. Ensures: a QuantizedImage behind it, which
all its readers read.
"""

from __future__ import annotations

from torch import fx, nn

from efq.export.qdq.passes.graph_pass import GraphPass
from efq.export.qdq.writer import QdqValue, QdqWriter, Quantized
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.graph.operations import ImageInput
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, insert_behind
from efq.toolchain.graph.walker import Call


class QuantizedImage(nn.Module):
    """The image on the grid it is on."""


def quantize_image(network: fx.GraphModule, contract: InputContract) -> PassResult:
    """Insert in place."""
    images = list(calls(network, ImageInput))
    for node, _ in images:
        insert_behind(network, node, f"{node.name}_quantized", QuantizedImage())
    return PassResult(changed=len(images))


def write_quantized_image(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """DequantizeLinear and QuantizeLinear of one grid."""
    (image,) = inputs
    assert isinstance(image, Quantized)
    return writer.quantize(writer.float_of(image), image.grid)


QUANTIZED_IMAGE = GraphPass(rewrite=quantize_image, handlers={QuantizedImage: write_quantized_image})
