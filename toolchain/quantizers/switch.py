"""Switch the quantizers of a network on and off."""

from __future__ import annotations

from torch import nn

from efq.toolchain.quantizers.activation import ActivationQuantizer
from efq.toolchain.quantizers.weight import WeightQuantizer


def set_enabled(network: nn.Module, *, enabled: bool, weights: bool | None = None) -> None:
    """Switch every quantizer on, or to passing floats through; `weights` says it for those of weights, where given."""
    for module in network.modules():
        if isinstance(module, ActivationQuantizer):
            module.enabled = enabled
        elif isinstance(module, WeightQuantizer):
            module.enabled = enabled if weights is None else weights
