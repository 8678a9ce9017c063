"""The runtimes to export for, a folder each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efq.runtime.lazy_names import lazy_names

if TYPE_CHECKING:
    from efq.export.targets.table import find_target
    from efq.export.targets.target import ExportTarget

__all__ = ["ExportTarget", "find_target"]

__getattr__, __dir__ = lazy_names(__name__, {"ExportTarget": "target", "find_target": "table"})
