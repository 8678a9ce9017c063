"""Export: a student becomes an artifact for a runtime, with a report of what runs in integers.

Each name is loaded when it is asked for, so that a command's --help waits for neither torch nor onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from efq.runtime.lazy_names import lazy_names

if TYPE_CHECKING:
    from efq.export.coverage.measurement import measure_coverage
    from efq.export.coverage.report import CoverageReport
    from efq.export.engine_settings import EngineSettings
    from efq.export.exporter import Export, export_student
    from efq.export.inspection.inspect import inspect
    from efq.export.qdq.passes.graph_pass import GraphPass
    from efq.export.qdq.target import QdqTarget
    from efq.export.rehearsal import rehearse
    from efq.export.targets import ExportTarget, find_target

__all__ = [
    "CoverageReport",
    "EngineSettings",
    "Export",
    "ExportTarget",
    "GraphPass",
    "QdqTarget",
    "export_student",
    "find_target",
    "inspect",
    "measure_coverage",
    "rehearse",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CoverageReport": "coverage.report",
        "EngineSettings": "engine_settings",
        "Export": "exporter",
        "ExportTarget": "targets",
        "GraphPass": "qdq.passes.graph_pass",
        "QdqTarget": "qdq.target",
        "export_student": "exporter",
        "find_target": "targets",
        "inspect": "inspection.inspect",
        "measure_coverage": "coverage.measurement",
        "rehearse": "rehearsal",
    },
)
