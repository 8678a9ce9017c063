"""Quantizers: ONNX's own arithmetic with learned ranges."""

from __future__ import annotations

from efq.toolchain.quantizers.activation import ActivationQuantizer
from efq.toolchain.quantizers.switch import set_enabled
from efq.toolchain.quantizers.weight import WeightQuantizer

__all__ = ["ActivationQuantizer", "WeightQuantizer", "set_enabled"]
