"""The integer coverage of a TensorRT engine, from the layers it lists, in the form of the CPU report."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import shape_inference

from efq.export.coverage.report import CoverageReport, IntegerCount, NodeShare, OpTypeShare
from efq.runtime.errors import CoverageError
from efq.runtime.tensorrt.build.layers import Layer

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_PRODUCTS = (*_CONVOLUTIONS, "Gemm", "MatMul")
_FLOAT = frozenset({"float32", "float16", "bfloat16"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Product:
    """A convolution or matrix product of the ONNX graph: its multiply-adds for one image and the layer that runs it."""

    name: str
    op_type: str
    elements: int
    multiply_adds: int
    layer: Layer | None

    @property
    def is_integer(self) -> bool:
        return self.layer is not None and self.layer.is_integer

    def share(self) -> NodeShare:
        return NodeShare(name=self.name, op_type=self.op_type, elements=self.elements, time_share=None)


def engine_coverage(model: onnx.ModelProto, layers: Sequence[Layer], *, runtime: str) -> CoverageReport:
    """What of `model` runs in integer kernels of the engine with these `layers`. Without a run there are no times.

    A product counts as integer when the layer that names it multiplies 8-bit operands. Raises CoverageError when the
    graph holds no product, or a layer's origin cannot be told.
    """
    shapes = _shapes_of_one_image(model)
    products = [
        _product(node, shapes, layers) for node in model.graph.node if node.op_type in _PRODUCTS and _is_weighted(node)
    ]
    if not products:
        message = "expected convolutions or matrix products in the graph, found none. Check the model"
        raise CoverageError(message)
    last = max((index for index, layer in enumerate(layers) if layer.is_product), default=len(layers))
    before, after = layers[:last], layers[last + 1 :]
    pointwise = [layer for layer in before if not layer.is_product and layer.inputs and layer.outputs]
    return CoverageReport(
        runtime=runtime,
        images=0,
        convolutions=_count(product for product in products if product.op_type in _CONVOLUTIONS),
        matrix_products=_count(product for product in products if product.op_type not in _CONVOLUTIONS),
        multiply_adds=IntegerCount(
            integer=sum(product.multiply_adds for product in products if product.is_integer),
            total=sum(product.multiply_adds for product in products),
        ),
        op_types=_kinds(layers),
        float_islands=_shares(layer for layer in pointwise if _reads_float(layer) and _writes_float(layer)),
        float_products=tuple(product.share() for product in products if not product.is_integer),
        conversions=_shares(layer for layer in pointwise if _reads_float(layer) != _writes_float(layer)),
        layout_changes=_shares(layer for layer in before if layer.is_reformat),
        epilogue=_shares(layer for layer in after if _reads_float(layer)),
    )


def _product(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]], layers: Sequence[Layer]) -> _Product:
    output, weight = shapes[node.output[0]], shapes[node.input[1]]
    elements = math.prod(output)
    if node.op_type == "ConvTranspose":
        multiply_adds = math.prod(shapes[node.input[0]]) * math.prod(weight[1:])
    elif node.op_type == "Conv":
        multiply_adds = elements * math.prod(weight[1:])
    else:
        multiply_adds = elements * shapes[node.input[0]][-1]
    found = [layer for layer in layers if layer.is_product and node.name in layer.nodes]
    return _Product(
        name=node.name,
        op_type=node.op_type,
        elements=elements,
        multiply_adds=multiply_adds,
        layer=found[0] if found and all(layer.is_integer for layer in found) else None,
    )


def _is_weighted(node: onnx.NodeProto) -> bool:
    return len(node.input) > 1 and bool(node.name)


def _shapes_of_one_image(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor for a batch of one."""
    one = onnx.ModelProto()
    one.CopyFrom(model)
    for value in (*one.graph.input, *one.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = shape_inference.infer_shapes(one, strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
    return shapes


def _count(products: Iterable[_Product]) -> IntegerCount:
    flags = [product.is_integer for product in products]
    return IntegerCount(integer=sum(flags), total=len(flags))


def _shares(layers: Iterable[Layer]) -> tuple[NodeShare, ...]:
    return tuple(NodeShare(name=layer.name, op_type=layer.kind, elements=0, time_share=None) for layer in layers)


def _kinds(layers: Sequence[Layer]) -> tuple[OpTypeShare, ...]:
    counts = collections.Counter(layer.kind for layer in layers)
    return tuple(
        OpTypeShare(op_type=kind, domain="", nodes=count, time_share=None) for kind, count in counts.most_common()
    )


def _reads_float(layer: Layer) -> bool:
    return bool(_FLOAT & set(layer.inputs))


def _writes_float(layer: Layer) -> bool:
    return bool(_FLOAT & set(layer.outputs))
