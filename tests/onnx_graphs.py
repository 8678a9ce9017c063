"""Small ONNX models, each operator written as an exporter of some opset does; and what the importer makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from efq.toolchain.graph.from_onnx import ImportedNetwork, compare_with_onnx, import_onnx

SHAPE = (2, 3, 9, 10)
IR_OF_OPSET = {7: 3, 9: 4, 11: 6, 13: 7, 17: 8, 21: 10}


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str] | str = "y", **attributes: Any) -> NodeProto:
    """Named after its output."""
    outputs = [outputs] if isinstance(outputs, str) else list(outputs)
    return helper.make_node(kind, list(inputs), outputs, name=f"{kind}_{outputs[0]}", **attributes)


def model(
    nodes: Sequence[NodeProto],
    weights: Mapping[str, Any] | None = None,
    *,
    opset: int = 17,
    shape: Sequence[int | str | None] = ("N", *SHAPE[1:]),
    outputs: Sequence[str] = ("y",),
    kind: int = TensorProto.FLOAT,
    domains: Sequence[str] = (),
) -> ModelProto:
    """A graph of the image `x` to `outputs`; arrays as initializers, floats in float32."""
    arrays = {name: np.asarray(value) for name, value in (weights or {}).items()}
    initializers = [
        numpy_helper.from_array(array.astype(np.float32) if array.dtype == np.float64 else array, name)
        for name, array in arrays.items()
    ]
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        initializers,
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_OF_OPSET.get(opset, 8))


def flat(nodes: Sequence[NodeProto], weights: Mapping[str, Any] | None = None, **options: Any) -> ModelProto:
    """`model` of nodes that end in `y`, made an embedding by flattening it."""
    return model([*nodes, node("Flatten", ["y"], "z", axis=1)], weights, outputs=("z",), **options)


def save(proto: ModelProto, folder: Path) -> Path:
    """As a file."""
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def imported(proto: ModelProto, folder: Path) -> ImportedNetwork:
    """What the importer makes of it."""
    return import_onnx(save(proto, folder))


def check(proto: ModelProto, folder: Path, *, seed: int = 0, scale: float = 1.0) -> ImportedNetwork:
    """The imported network, once it is seen to compute what ONNX Runtime does, for one image and for several."""
    found = imported(proto, folder)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, found.image.channels, *found.image.size, generator=generator) * scale
    cosine = compare_with_onnx(found, images)
    assert cosine is not None, "ONNX Runtime does not run the model"
    with torch.inference_mode():
        whole, single = found.network(images), torch.cat([found.network(image[None]) for image in images])
    torch.testing.assert_close(whole, single, rtol=1e-4, atol=1e-4)
    return found


def random(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Standard normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def kinds(found: ImportedNetwork) -> list[str]:
    """The classes of its layers, in the order they are called."""
    network = found.network
    return [type(network.get_submodule(str(n.target))).__name__ for n in network.graph.nodes if n.op == "call_module"]


def external(proto: ModelProto, folder: Path, **changed: str) -> Path:
    """Saved with its weights in `model.data` beside it; `changed` entries replace the right ones."""
    content = b""
    for tensor in proto.graph.initializer:
        data = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": "model.data", "offset": str(len(content)), "length": str(len(data))} | changed
        for key, value in entries.items():
            tensor.external_data.append(onnx.StringStringEntryProto(key=key, value=value))
        content += data
    (folder / "model.data").write_bytes(content)
    return save(proto, folder)
