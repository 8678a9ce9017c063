"""What quantizing each layer alone costs: 1 - cosine of the embeddings to those of the float student.

Requires: inserted and started quantizers. Ensures: the network is left as it was, every quantizer on or off as before.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from efq.toolchain.lowering.graph import calls
from efq.toolchain.lowering.start_ranges import set_enabled
from efq.toolchain.operations import WEIGHTED
from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer

_BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerCost:
    """`cost` is the mean 1 - cosine over the faces with the quantizers of `layer` on and all others off.

    `weights` says whether these quantize the layer's weights or the tensor it gives; `bits` is their width.
    """

    layer: str
    weights: bool
    bits: int
    cost: float


@torch.no_grad()
def layer_costs(network: fx.GraphModule, images: Tensor, *, activations: bool = True) -> list[LayerCost]:
    """The cost of each layer's weights and, unless `activations` is False, of each quantized tensor, in graph order.

    `images` uint8 (N, H, W, 3). One pass over them for every quantizer.
    """
    found = []
    with _restored(network):
        set_enabled(network, enabled=False)
        exact = _embed(network, images)
        for name, quantizer, weights in _quantizers(network, activations=activations):
            quantizer.enabled = True
            cost = float((1 - (_embed(network, images) * exact).sum(1)).mean())
            quantizer.enabled = False
            found.append(LayerCost(layer=name, weights=weights, bits=quantizer.bits, cost=max(cost, 0.0)))
    return found


def _quantizers(
    network: fx.GraphModule, *, activations: bool
) -> Iterator[tuple[str, ActivationQuantizer | WeightQuantizer, bool]]:
    seen: set[nn.Module] = set()
    for node, module in calls(network, *WEIGHTED, ActivationQuantizer):
        if module in seen:  # both operands of a maximum pass one quantizer
            continue
        seen.add(module)
        if isinstance(module, WEIGHTED):
            if module.weight_quantizer is not None:
                yield str(node.target), module.weight_quantizer, True
        elif isinstance(module, ActivationQuantizer) and activations:
            yield str(node.target), module, False


def _embed(network: fx.GraphModule, images: Tensor) -> Tensor:
    return torch.cat([functional.normalize(network(batch), dim=1) for batch in torch.split(images, _BATCH)])


@contextlib.contextmanager
def _restored(network: nn.Module) -> Iterator[None]:
    """Put every quantizer's switch and the training mode back."""
    switches = {
        module: module.enabled
        for module in network.modules()
        if isinstance(module, ActivationQuantizer | WeightQuantizer)
    }
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
        for module, enabled in switches.items():
            module.enabled = enabled
