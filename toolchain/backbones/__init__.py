"""Float face-recognition networks by name, and their checkpoints."""

from __future__ import annotations

from efq.toolchain.backbones import networks  # noqa: F401  (they register)
from efq.toolchain.backbones.checkpoint import load_backbone, read_checkpoint
from efq.toolchain.backbones.registry import Backbone, backbone_names, find_backbone, register

__all__ = ["Backbone", "backbone_names", "find_backbone", "load_backbone", "read_checkpoint", "register"]
