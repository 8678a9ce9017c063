"""ONNX graphs as trainable torch networks."""

from __future__ import annotations

from efq.toolchain.graph.from_onnx.compare import compare_with_onnx
from efq.toolchain.graph.from_onnx.walk import ImportedNetwork, import_onnx

__all__ = ["ImportedNetwork", "compare_with_onnx", "import_onnx"]
