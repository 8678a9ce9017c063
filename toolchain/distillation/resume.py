"""The state of an interrupted distillation, beside the student file it is to become."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from efq.runtime.errors import CheckpointError, UsageError
from efq.runtime.files import atomic_write_bytes
from efq.toolchain.backbones import read_checkpoint

FORMAT = "efq-distillation"


def resume_path(student: Path) -> Path:
    """Where the state of the run that makes `student` is kept."""
    return student.with_name(f"{student.name}.resume")


def save_resume(path: Path, state: dict[str, Any], run: dict[str, Any], graph: list[dict[str, Any]]) -> None:
    """Write the trainer's state, with what identifies the run, in one step."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "run": run, "graph": graph, "state": state}, buffer)
    atomic_write_bytes(path, buffer.getvalue())


def load_resume(path: Path, run: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The state and graph of an interrupted run.

    Raises UsageError when the file belongs to a run with another teacher, data, recipe or seed, CheckpointError when
    there is none or it is damaged.
    """
    if not path.is_file():
        message = f"expected the state of an interrupted run at {path}, found none: start it without --resume"
        raise CheckpointError(message)
    content = read_checkpoint(path)
    if content.get("format") != FORMAT or not {"run", "graph", "state"} <= set(content):
        message = f"{path} is not the state of a distillation: delete it and start without --resume"
        raise CheckpointError(message)
    different = sorted(key for key in run if content["run"].get(key) != run[key])
    if different:
        message = f"{path} belongs to a run with another {', '.join(different)}: repeat its options, or delete it"
        raise UsageError(message)
    return content["state"], content["graph"]
