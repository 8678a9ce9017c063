"""What an export would write: the plan `efq-export --dry-run` prints."""

from __future__ import annotations

import collections
from typing import Any

from efq.export.qdq_graph import build_qdq_model
from efq.export.targets import TargetProfile
from efq.toolchain.lowering.graph import module_of
from efq.toolchain.operations import WEIGHTED
from efq.toolchain.student import Student


def export_plan(student: Student, profile: TargetProfile) -> dict[str, Any]:
    """Plain values: target, operations by kind, weights, bytes of the model file, activations by kind."""
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
        "bits": {"weights": student.recipe["weight_bits"], "activations": student.recipe["activation_bits"]},
        "input": f"uint8 (N, {student.contract.height}, {student.contract.width}, 3) RGB",
        "output": f"float32 (N, {student.embedding_size}) of unit length",
        "operations": dict(sorted(kinds.items())),
        "prelu_layers": dict(collections.Counter(student.activations.values())),
        "weights": weights,
        "model_bytes": int(build_qdq_model(student, profile).ByteSize()),
    }
