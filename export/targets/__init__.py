"""The runtimes to export for, a folder each."""

from __future__ import annotations

from efq.export.targets.table import find_target
from efq.export.targets.target import ExportTarget

__all__ = ["ExportTarget", "find_target"]
