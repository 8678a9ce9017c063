"""Graphs that TensorRT does not run in int8 as written, graphs that it does, and what the lint and the builder say.

One function a pattern; unit tests ask the lint, parity tests ask the builder of TensorRT-RTX.
"""

from __future__ import annotations

from tensorrt_patterns import fine, low_bits, placement, scales, types, weights, whole_graph
from tensorrt_patterns.pattern import PATTERNS, Pattern

__all__ = ["PATTERNS", "Pattern", "fine", "low_bits", "placement", "scales", "types", "weights", "whole_graph"]
