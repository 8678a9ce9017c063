"""Whether an imported network computes what its ONNX file does: embeddings beside ONNX Runtime's, then each value."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto
from torch import Tensor, fx

from efq.runtime.errors import CheckpointError
from efq.toolchain.graph.from_onnx.model_file import OnnxModel
from efq.toolchain.graph.from_onnx.walk import ImportedNetwork, is_narrow

LEAST_COSINE = 1 - 1e-6
LEAST_COSINE_NARROW = 1 - 1e-3
"""Of a file in float16 or bfloat16, which is imported as float32."""

_TYPES: dict[int, type[np.generic]] = {
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
    TensorProto.UINT8: np.uint8,
}

_logger = logging.getLogger(__name__)


def compare_with_onnx(imported: ImportedNetwork, images: Tensor) -> float | None:
    """The least cosine between the network's embeddings of `images` and ONNX Runtime's of the file.

    images: float32 (N, 3, H, W), as the file takes them but in this layout. None where ONNX Runtime does not run the
    file. Raises CheckpointError, naming the first node that computes something else, where a cosine is below 1 - 1e-6
    (1 - 1e-3 of a file in 16 bits), or the lengths differ by as much.
    """
    session = _session(imported.model, [imported.output])
    if session is None:
        return None
    least = LEAST_COSINE_NARROW if is_narrow(imported.model) else LEAST_COSINE
    found = 1.0
    for batch, real in _batches(imported, images):
        try:
            (embeddings,) = session.run([imported.output], _feed(session, imported, batch))
        except Exception as error:  # of ONNX Runtime's kernels
            _warn(imported.model, error)
            return None
        wanted = torch.from_numpy(np.array(embeddings, dtype=np.float32)).reshape(len(batch), -1)[:real].double()
        with torch.inference_mode():
            own = imported.network(batch)[:real].double()
        cosines = torch.cosine_similarity(own, wanted, dim=1)
        away = torch.linalg.vector_norm(own - wanted, dim=1) / torch.linalg.vector_norm(wanted, dim=1)
        same = (cosines >= least) & (away <= (2 * (1 - least)) ** 0.5)
        same |= ~torch.isfinite(own).all(1) & ~torch.isfinite(wanted).all(1)
        if not bool(same.all()):
            image = batch[int((~same).nonzero()[0])]
            raise _difference(imported, image, float(cosines[~same].min()), least)
        found = min([found, *cosines[torch.isfinite(cosines)].tolist()])
    return found


def _difference(imported: ImportedNetwork, image: Tensor, cosine: float, least: float) -> CheckpointError:
    node = first_difference(imported, image)
    place = "" if node is None else f"; the first node that differs is {node}"
    return CheckpointError(
        f"expected the torch form of {imported.model.path} to give ONNX Runtime's embeddings (cosine {least} or more), "
        f"found {cosine:.6f}{place}. This is an error of EFQ's importer: please report it with that node"
    )


def first_difference(imported: ImportedNetwork, image: Tensor, tolerance: float = 1e-3) -> str | None:
    """The first node of the file whose output (3, H, W) `image` gives another value for, relative to its largest."""
    model = imported.model
    nodes = {name: node for node in model.nodes for name in node.output if name in imported.values}
    session = _session(model, list(nodes), optimized=False)
    if session is None:
        return None
    batch, _ = next(_batches(imported, image[None]))
    try:
        wanted = session.run(list(nodes), _feed(session, imported, batch))
    except Exception as error:
        _warn(model, error)
        return None
    recorder = _Recorder(imported.network)
    with torch.inference_mode():
        recorder.run(batch)
    for (name, node), value in zip(nodes.items(), wanted, strict=True):
        stored, axes = imported.values[name]
        own = recorder.values[stored].permute(axes).numpy().reshape(-1)
        value = np.asarray(value, dtype=np.float32).reshape(-1)
        largest = max(float(np.abs(value).max(initial=0)), 1e-6)
        if own.shape != value.shape or not float(np.abs(own - value).max(initial=0)) <= tolerance * largest:
            return f"{node.op_type} {node.name!r} (output {name!r})"
    return None


class _Recorder(fx.Interpreter):
    """Keeps what each node gave."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.values[n.name] = found = super().run_node(n)
        return found


def _batches(imported: ImportedNetwork, images: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Of as many images as the file takes, and how many of them are real."""
    size = imported.image.batch or 8
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        missing = size - len(batch) if imported.image.batch else 0
        yield torch.cat([batch, batch[-1:].expand(missing, -1, -1, -1)]), len(batch)


def _feed(
    session: onnxruntime.InferenceSession, imported: ImportedNetwork, batch: Tensor
) -> dict[str, NDArray[np.generic]]:
    values = batch.permute(imported.image.axes).contiguous().numpy()
    return {session.get_inputs()[0].name: values.astype(_TYPES.get(imported.image.data_type, np.float32))}


def _session(
    model: OnnxModel, outputs: Sequence[str], *, optimized: bool = True
) -> onnxruntime.InferenceSession | None:
    """The file in ONNX Runtime, with these outputs; None where it refuses it."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.input[:], proto.graph.output[:], proto.graph.node[:]
    proto.graph.input.append(model.image)
    proto.graph.output.extend(ValueInfoProto(name=name) for name in outputs)
    proto.graph.node.extend(model.nodes)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    folder = str(model.path.parent.absolute())
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    levels = onnxruntime.GraphOptimizationLevel  # further ones multiply weights of 4 bits with rounded activations
    options.graph_optimization_level = levels.ORT_ENABLE_BASIC if optimized else levels.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        _warn(model, error)
        return None


def _warn(model: OnnxModel, error: Exception) -> None:
    reason = (str(error).strip() or repr(error)).splitlines()[0][:300]
    _logger.warning("ONNX Runtime does not run %s, so its embeddings were not compared: %s", model.path, reason)
