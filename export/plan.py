"""What an export would write: the plan `efq-export --dry-run` prints."""

from __future__ import annotations

import collections
from typing import Any

from efq.export.engine_settings import EngineSettings
from efq.export.exporter import check_images, check_student
from efq.export.surface import with_interface
from efq.export.targets.target import ExportOptions, ExportTarget
from efq.runtime.faces.interface import USUAL, Interface
from efq.toolchain.graph.operations import WEIGHTED
from efq.toolchain.graph.traversal import module_of
from efq.toolchain.student import Student


def export_plan(
    student: Student, target: ExportTarget, *, full_range: bool = False, interface: Interface = USUAL
) -> dict[str, Any]:
    """Plain values: target, operations by kind, weights, bytes of the model file, activations by kind.

    `full_range` and `interface` as in `export_student`; "note" says what an export would change in the student.
    Raises ParityError for a student whose embeddings are none or all the same, UsageError as an export does.
    """
    target.check_interface(interface)
    images = check_images(student)
    check_student(student, images)
    options = ExportOptions(full_range=full_range, engine=EngineSettings(build=False))
    prepared = target.prepare(student, images, options)
    student = prepared.student
    kinds: collections.Counter[str] = collections.Counter()
    weights = 0
    for node in student.network.graph.nodes:
        module = module_of(student.network, node)
        if module is not None:
            kinds[type(module).__name__] += 1
        if isinstance(module, WEIGHTED):
            weights += module.weight.numel()
    return {
        "target": target.name,
        "description": target.description,
        "backbone": student.backbone,
        "recipe": student.recipe.name,
        "bits": student.bits,
        "input": interface.describe(student.contract),
        "output": f"float32 (N, {student.embedding_size}) of unit length",
        "operations": dict(sorted(kinds.items())),
        "prelu_layers": dict(collections.Counter(student.activations.values())),
        "weights": weights,
        "model_bytes": int(with_interface(target.write(prepared.form), interface, student.contract).ByteSize()),
    } | ({"note": "; ".join(prepared.changes.notes)} if prepared.changes.notes else {})
