"""What a student consists of, as efq-inspect shows it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from torch import fx

from efq.export.qdq.weighted import PACKED_BITS
from efq.toolchain.graph.operations import SCALE_PRESERVING, WEIGHTED, ChannelAffine, QuantizedConv2d, WeightedOperation
from efq.toolchain.graph.traversal import calls, module_of
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import Student, load_student


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerDescription:
    """`kind` is convolution, depthwise, linear or affine (the slopes of an exact PReLU); `shape` that of the weight.

    `weight_bits` and `output_bits` are None where there is no quantizer; `weight_bytes` is what an artifact stores,
    without scales and biases.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    weight_bits: int | None
    weight_bytes: int
    output_bits: int | None


def describe_layers(student: Student) -> list[LayerDescription]:
    """In execution order."""
    found = []
    for node, module in calls(student.network, *WEIGHTED):
        assert isinstance(module, WEIGHTED)
        count = module.weight.numel()
        bits = None if module.weight_quantizer is None else module.weight_quantizer.bits
        found.append(
            LayerDescription(
                layer=str(node.target),
                kind=_kind(module),
                shape=tuple(module.weight.shape),
                weights=count,
                weight_bits=bits,
                weight_bytes=_stored(count, bits),
                output_bits=_output_bits(student.network, node),
            )
        )
    return found


def _kind(module: WeightedOperation) -> str:
    if isinstance(module, QuantizedConv2d):
        return "convolution" if module.groups == 1 else "depthwise"
    return "affine" if isinstance(module, ChannelAffine) else "linear"


def _stored(count: int, bits: int | None) -> int:
    if bits is None:
        return 4 * count
    return -(-count // 2) if bits <= PACKED_BITS else count


def _output_bits(network: fx.GraphModule, node: fx.Node) -> int | None:
    for user in node.users:
        module = module_of(network, user)
        if isinstance(module, ActivationQuantizer):
            return module.bits
        if isinstance(module, SCALE_PRESERVING):
            return _output_bits(network, user)
    return None


def inspect_student(path: Path) -> dict[str, Any]:
    """A student file as plain values. Raises CheckpointError for what is none or damaged."""
    student = load_student(path)
    layers = describe_layers(student)
    return {
        "student": student.recipe.name,
        "backbone": student.backbone,
        "bits": student.bits,
        "embedding_size": student.embedding_size,
        "licence": student.licence,
        "teacher": dict(student.teacher),
        "data": dict(student.data),
        "lineage": student.lineage.to_dict(),
        "training": dict(student.training),
        "weights": sum(layer.weights for layer in layers),
        "weight_bytes": sum(layer.weight_bytes for layer in layers),
        "layers": [dataclasses.asdict(layer) for layer in layers],
        "notes": list(student.notes),
    }
