"""Lowering: a float network becomes an integer-native student, one pass a file."""

from __future__ import annotations

from efq.toolchain.lowering.lower import LoweringReport, float_graph, lower

__all__ = ["LoweringReport", "float_graph", "lower"]
