"""Distillation: fine-tuning a lowered student so that its embeddings become the teacher's."""

from __future__ import annotations

from efq.toolchain.distillation.calibrate import calibrate_teacher
from efq.toolchain.distillation.distill import distill
from efq.toolchain.distillation.licences import Licences
from efq.toolchain.distillation.memory import reuse_freed_memory

__all__ = ["Licences", "calibrate_teacher", "distill", "reuse_freed_memory"]
