"""The graph's surface: what a server feeds is made the bytes of pixels that the graph behind it reads.

Requires: a graph with one input `images`, uint8 RGB (N, H, W, 3) with a free batch, and one output, as every target
writes it. Ensures: the input is that of the interface, and its pixel values from 0 to 255, however they were
normalized, are the same bytes behind it, so that the embeddings are the same to the bit. The rest of the graph is as it
was. A value between two pixel values is rounded to the nearer one.

Floats are brought to the grid that images are quantized on, (pixel - 128) / 128, and quantized to its bytes. A graph
that casts the bytes to floats and quantizes them itself, as those for TensorRT, which knows no other bytes than signed
ones, is given the floats of the pixels.

Pixels that are not normalized are shifted by a Sub and scaled by a Mul of these names: InsightFace's package takes a
network for one that normalizes inside when it finds such names among the first eight nodes, and any other for one that
takes (pixel - 127.5) / 127.5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from efq.runtime.artifact.contract import InputContract
from efq.runtime.backends.model import INPUT_NAME
from efq.runtime.faces.interface import Interface
from efq.toolchain.graph.operations import IMAGE_SCALE, IMAGE_ZERO_POINT

PIXELS = "image_pixels"
"""The name of the bytes behind the surface."""

_CHANNELS_LAST, _REVERSED = (0, 2, 3, 1), (2, 1, 0)


def with_interface(model: onnx.ModelProto, interface: Interface, contract: InputContract) -> onnx.ModelProto:
    """A copy of `model` with the surface of `interface`, checked by onnx's own checker; of the usual one, itself."""
    if interface.is_usual:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    _set_ports(graph, interface, contract)
    surface = _Surface()
    if interface.form == "uint8-nhwc" and interface.color_order == "rgb":
        return changed  # only the batch is another one
    _add_pixels(surface, interface, quantized=not _casts_its_images(graph))
    for node in graph.node:
        node.input[:] = [PIXELS if name == INPUT_NAME else name for name in node.input]
    surface.nodes[-1].output[0] = PIXELS
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*surface.nodes, *nodes])
    graph.initializer.extend(surface.constants)
    onnx.checker.check_model(changed, full_check=True)
    return changed


def _set_ports(graph: onnx.GraphProto, interface: Interface, contract: InputContract) -> None:
    tensor = graph.input[0].type.tensor_type
    batch = tensor.shape.dim[0].dim_param if interface.batch is None else interface.batch
    dtype = TensorProto.FLOAT if interface.is_float else TensorProto.UINT8
    shape = [batch, *interface.image_shape(contract)]
    graph.input[0].CopyFrom(helper.make_tensor_value_info(INPUT_NAME, dtype, shape))
    if interface.batch is not None:
        graph.output[0].type.tensor_type.shape.dim[0].dim_value = interface.batch


def _casts_its_images(graph: onnx.GraphProto) -> bool:
    return all(node.op_type == "Cast" for node in graph.node if INPUT_NAME in node.input)


def _add_pixels(surface: _Surface, interface: Interface, *, quantized: bool) -> None:
    value = INPUT_NAME
    if not (quantized or interface.is_float):
        value = surface.node("Cast", [value], "image_floats", to=TensorProto.FLOAT)
    if interface.color_order == "bgr":
        axis = interface.layout.index("C")
        order = surface.constant("channels", np.array(_REVERSED, np.int64))
        value = surface.node("Gather", [value, order], "image_rgb", axis=axis)
    if interface.is_float:
        value = _on_the_grid(surface, interface, value) if quantized else _as_pixels(surface, interface, value)
    if interface.layout == "NCHW":
        surface.node("Transpose", [value], "image_channels_last", perm=_CHANNELS_LAST)


def _on_the_grid(surface: _Surface, interface: Interface, value: str) -> str:
    """Floats as bytes."""
    if interface.is_raw:
        shifted = surface.node("Sub", [value, surface.constant("shift", np.float32(IMAGE_ZERO_POINT))], "Sub_image")
        value = surface.node("Mul", [shifted, surface.constant("scale", np.float32(IMAGE_SCALE))], "Mul_image")
    else:
        scale, shift = _scale_and_shift(interface)
        value = _affine(surface, value, scale * IMAGE_SCALE, (shift - IMAGE_ZERO_POINT) * IMAGE_SCALE)
    grid = [
        surface.constant("grid_scale", np.float32(IMAGE_SCALE)),
        surface.constant("grid_zero_point", np.uint8(IMAGE_ZERO_POINT)),
    ]
    return surface.node("QuantizeLinear", [value, *grid], "image_quantizer")


def _as_pixels(surface: _Surface, interface: Interface, value: str) -> str:
    """Floats from 0 to 255, but for rounding."""
    return value if interface.is_raw else _affine(surface, value, *_scale_and_shift(interface))


def _affine(surface: _Surface, value: str, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> str:
    scaled = surface.node("Mul", [value, surface.constant("scale", _by_channel(scale))], "image_scale")
    return surface.node("Add", [scaled, surface.constant("shift", _by_channel(shift))], "image_shift")


def _scale_and_shift(interface: Interface) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each channel in the order R, G, B, which they are in by then: pixel = value * scale + shift."""
    assert interface.normalization is not None
    return np.asarray(interface.normalization.std, np.float64), np.asarray(interface.normalization.mean, np.float64)


def _by_channel(values: NDArray[np.float64]) -> NDArray[Any]:
    """One number where all channels have the same."""
    found = values.astype(np.float32)
    return found[0].reshape(()) if len(set(found.tolist())) == 1 else found.reshape(3, 1, 1)


class _Surface:
    """Nodes and constants, in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        output = f"{name}_value"
        self.nodes.append(helper.make_node(operator, inputs, [output], name, **attributes))
        return output

    def constant(self, name: str, values: NDArray[Any] | np.generic) -> str:
        named = f"image_{name}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), named))
        return named
