"""Export: a student becomes an artifact for a runtime, with a report of what runs in integers."""

from __future__ import annotations

from efq.export.coverage.report import CoverageReport, measure_coverage
from efq.export.exporter import Export, export_student
from efq.export.targets import TARGETS, TargetProfile, find_target

__all__ = ["TARGETS", "CoverageReport", "Export", "TargetProfile", "export_student", "find_target", "measure_coverage"]
