"""Whether an exported TensorRT graph computes its student, layer by layer and from end to end.

From end to end the two differ by chance: sums in another order fall on the other side of a rounding once in some
hundred thousand values, and each such step changes others after it. So every layer is also compared on the same
integers, those the graph itself computed, where nothing can add up: there an error of the export shows at once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch.nn import functional

from efq.export.references.float16 import Float16Reference
from efq.export.targets.tensorrt.graph import IMAGE_QUANTIZER
from efq.runtime.backends.model import INPUT_NAME
from efq.runtime.backends.onnxruntime_module import import_onnxruntime
from efq.runtime.errors import ParityError
from efq.runtime.faces.interface import USUAL, Interface
from efq.toolchain.student import Student

MOST_DIFFERING = 1e-5
CHANCE = 2
"""So many values may differ however few there are: float kernels add up in an order of their CPU's."""
LEAST_COSINE_OF_LAYERS = 0.9999


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerParity:
    """A graph in ONNX Runtime beside its student in torch; see `MOST_DIFFERING` and `CHANCE` for what may differ.

    differing_share: of all quantized values, each layer given the graph's own integers; largest_difference: in steps.
    least_cosine_of_layers: of the embedding layer's output, so given. least_cosine, mean_cosine: of whole embeddings.
    """

    images: int
    values: int
    differing_share: float
    largest_difference: int
    least_cosine_of_layers: float
    least_cosine: float
    mean_cosine: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def check(self) -> None:
        """Raises ParityError when the graph is not the student's."""
        if (
            self.differing_share * self.values <= max(MOST_DIFFERING * self.values, CHANCE)
            and self.largest_difference <= 1
            and self.least_cosine_of_layers >= LEAST_COSINE_OF_LAYERS
        ):
            return
        message = (
            "expected the exported graph to compute the student's integers, found "
            f"{self.differing_share:.4%} of them different, by up to {self.largest_difference} steps, and a cosine of "
            f"{self.least_cosine_of_layers:.6f}: the student file is damaged, or this is an error of EFQ"
        )
        raise ParityError(message)


def layer_parity(
    student: Student, model: onnx.ModelProto, images: NDArray[np.uint8], interface: Interface = USUAL
) -> LayerParity:
    """Compare `model`, run by ONNX Runtime as written, with its symmetric `student` on uint8 (N, H, W, 3) images."""
    embeddings, integers = _run(model, interface.prepare(images))
    batch = torch.from_numpy(images)
    forced = Float16Reference(student, {name: torch.from_numpy(values) for name, values in integers.items()})
    forced_cosines = _cosines(forced(batch), embeddings)
    differences = [
        np.abs(integers[name].astype(np.int16) - values.numpy().astype(np.int16))
        for name, values in forced.integers.items()
    ]
    cosines = _cosines(Float16Reference(student)(batch), embeddings)
    values = sum(difference.size for difference in differences)
    return LayerParity(
        images=len(images),
        values=values,
        differing_share=sum(int((difference > 0).sum()) for difference in differences) / max(values, 1),
        largest_difference=max((int(difference.max()) for difference in differences), default=0),
        least_cosine_of_layers=float(forced_cosines.min()),
        least_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
    )


def _run(model: onnx.ModelProto, batch: NDArray[Any]) -> tuple[NDArray[np.float32], dict[str, NDArray[np.int8]]]:
    """Unit-length embeddings, and every activation's integers by the name of its QuantizeLinear."""
    onnxruntime = import_onnxruntime()
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    quantized = {
        node.output[0]: node.name
        for node in exposed.graph.node
        if node.op_type == "QuantizeLinear" and node.name != IMAGE_QUANTIZER
    }
    exposed.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.INT8, None) for name in quantized)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    embeddings, *integers = map(np.asarray, session.run(["embeddings", *quantized], {INPUT_NAME: batch}))
    return embeddings, dict(zip(quantized.values(), integers, strict=True))


def _cosines(raw: torch.Tensor, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    wanted = functional.normalize(raw, dim=1).numpy()
    return np.asarray((wanted * embeddings).sum(1), np.float32)
