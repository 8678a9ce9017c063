"""Lint an ONNX graph for TensorRT before an engine is built."""

from __future__ import annotations

from efq.export.targets.tensorrt.lint.finding import Finding, Severity
from efq.export.targets.tensorrt.lint.run import check, lint

__all__ = ["Finding", "Severity", "check", "lint"]
