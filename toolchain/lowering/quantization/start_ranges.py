"""Start the scales of weights and activations from a search, the latter over the values of a few hundred faces.

Requires: inserted quantizers. Ensures: every quantizer is enabled and has the scale (and zero point) with the least
squared error on the weights, or on the network's own values with its activations in float.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from efq.toolchain.graph.operations import WEIGHTED
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.quantizers import ActivationQuantizer, set_enabled
from efq.toolchain.quantizers.draws import draw_values

_VALUES_A_BATCH = 40_000
_BATCH = 32


@torch.no_grad()
def start_ranges(network: fx.GraphModule, images: Tensor, *, weights: bool = True) -> PassResult:
    """Search in place over `images` uint8 (N, H, W, 3); `weights` False leaves the weights quantized as they are."""
    quantizers = [module for module in network.modules() if isinstance(module, ActivationQuantizer)]
    generator = torch.Generator().manual_seed(0)
    samples: dict[ActivationQuantizer, list[Tensor]] = {quantizer: [] for quantizer in quantizers}

    def record(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(module, ActivationQuantizer)
        samples[module].append(draw_values(inputs[0], _VALUES_A_BATCH, generator))

    hooks = [quantizer.register_forward_pre_hook(record) for quantizer in quantizers]
    set_enabled(network, enabled=False, weights=not weights)
    for batch in torch.split(images, _BATCH):
        network(batch)
    set_enabled(network, enabled=True)
    for module in network.modules() if weights else ():
        if isinstance(module, WEIGHTED) and module.weight_quantizer is not None:
            module.weight_quantizer.start_from(module.weight.reshape(module.weight.shape[0], -1))
    for hook in hooks:
        hook.remove()
    for quantizer in quantizers:
        quantizer.start_from(torch.cat(samples[quantizer]))
    return PassResult(changed=len(quantizers))
