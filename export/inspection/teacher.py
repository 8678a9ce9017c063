"""What a teacher is and takes, and whether its network has an integer form, as efq-inspect shows it."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from efq.export.rehearsal import drawn_images
from efq.runtime.errors import LoweringError
from efq.toolchain.graph.from_torch import trace
from efq.toolchain.lowering.check_graph import check_graph
from efq.toolchain.teachers import Teacher, open_teacher
from efq.toolchain.teachers.dead_channels import DeadChannels
from efq.toolchain.teachers.formats import find_format


def inspect_teacher(path: Path, backbone: str | None = None, teacher_input: str | None = None) -> dict[str, Any]:
    """A teacher's file as plain values; `backbone` and `teacher_input` as `open_teacher` takes them.

    Raises what that raises. A network without an integer form is described with what has none.
    """
    teacher = open_teacher(path, backbone, teacher_input)
    images = torch.from_numpy(drawn_images(teacher.contract))
    with torch.inference_mode():
        embedding_size = teacher.normalized(images).shape[1]
    return {
        "teacher": teacher.name,
        "format": find_format(path).name,
        "notes": list(teacher.notes),
        "parameters": sum(parameter.numel() for parameter in teacher.network.parameters()),
        "embedding_size": embedding_size,
        "input": str(teacher.input),
        "input_known": _how_known(teacher),
        "licence": teacher.licence,
        "licence_source": teacher.licence_source or "nothing says it",
        "provenance": teacher.provenance or "not stated",
        "sha256": teacher.sha256,
        "dead_channels": str(DeadChannels.of_network(teacher.network)),
        **_integer_form(teacher, images),
    }


def _how_known(teacher: Teacher) -> str:
    if teacher.declared_input is not None:
        return "said with --teacher-input"
    size = "" if teacher.size_known else "; the size is only usual"
    return f"what {teacher.name} is known for{size}"


def _integer_form(teacher: Teacher, images: Tensor) -> dict[str, Any]:
    """Its operations by kind, or what the lowering refuses."""
    mean, std = teacher.normalization.mean, teacher.normalization.std
    try:
        graph = trace(teacher.network, mean, std, height=teacher.contract.height, width=teacher.contract.width)
        check_graph(graph, teacher.network, images, mean=mean, std=std)
    except LoweringError as error:
        return {"integer_form": f"no: {error}"}
    return {"integer_form": "yes", "operations": _operations(graph)}


def _operations(graph: fx.GraphModule) -> dict[str, int]:
    """How often each is called, the most frequent first."""
    kinds = [type(graph.get_submodule(str(node.target))) for node in graph.graph.nodes if node.op == "call_module"]
    return dict(collections.Counter(kind.__name__ for kind in kinds).most_common())
