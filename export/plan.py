"""What an export would write: the plan `efq-export --dry-run` prints."""

from __future__ import annotations

import collections
from typing import Any

import onnx

from efq.export.exporter import check_images
from efq.export.qdq.writer import build_qdq_model
from efq.export.reduced_range import weights_for
from efq.export.targets import TargetProfile
from efq.export.targets.tensorrt.graph import build_tensorrt_model
from efq.export.targets.tensorrt.symmetric_student import symmetric_form
from efq.toolchain.graph.operations import WEIGHTED
from efq.toolchain.graph.traversal import module_of
from efq.toolchain.student import Student


def export_plan(student: Student, profile: TargetProfile, *, full_range: bool = False) -> dict[str, Any]:
    """Plain values: target, operations by kind, weights, bytes of the model file, activations by kind.

    `full_range` as in `export_student`; "note" says what an export would change in the student, where it would.
    """
    student, reduction = weights_for(student, profile, check_images(student), full_range=full_range)
    kinds: collections.Counter[str] = collections.Counter()
    weights = 0
    for node in student.network.graph.nodes:
        module = module_of(student.network, node)
        if module is not None:
            kinds[type(module).__name__] += 1
        if isinstance(module, WEIGHTED):
            weights += module.weight.numel()
    return {
        "target": profile.name,
        "description": profile.description,
        "backbone": student.backbone,
        "recipe": student.recipe["name"],
        "bits": student.bits,
        "input": f"uint8 (N, {student.contract.height}, {student.contract.width}, 3) RGB",
        "output": f"float32 (N, {student.embedding_size}) of unit length",
        "operations": dict(sorted(kinds.items())),
        "prelu_layers": dict(collections.Counter(student.activations.values())),
        "weights": weights,
        "model_bytes": int(_model(student, profile).ByteSize()),
    } | ({} if reduction is None else {"note": str(reduction)})


def _model(student: Student, profile: TargetProfile) -> onnx.ModelProto:
    if profile.has_engine:
        form, _ = symmetric_form(student, check_images(student))
        return build_tensorrt_model(form, profile)
    return build_qdq_model(student, profile)
