"""Lint an ONNX graph for TensorRT before an engine is built."""

from __future__ import annotations

from efq.export.tensorrt_lint.finding import Finding, Severity
from efq.export.tensorrt_lint.lint import check, lint

__all__ = ["Finding", "Severity", "check", "lint"]
