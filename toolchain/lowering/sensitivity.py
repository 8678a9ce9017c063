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

from efq.toolchain.graph.operations import QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.traversal import calls
from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer, set_enabled

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
def layer_costs(
    network: fx.GraphModule, images: Tensor, *, activations: bool = True, weight_bits: int | None = None
) -> list[LayerCost]:
    """The cost of each layer's weights and, unless `activations` is False, of each quantized tensor, in graph order.

    `images` uint8 (N, H, W, 3). One pass over them for every quantizer. A ChannelAffine is left out: one weight with a
    scale of its own is exact. With `weight_bits` the weights alone, as if rounded to so many bits.
    """
    found = []
    with _restored(network):
        set_enabled(network, enabled=False)
        exact = _embed(network, images)
        for name, module in _layers(network, activations=activations and weight_bits is None):
            with _quantized(module, weight_bits) as bits:
                cost = float((1 - (_embed(network, images) * exact).sum(1)).mean())
            weights = not isinstance(module, ActivationQuantizer)
            found.append(LayerCost(layer=name, weights=weights, bits=bits, cost=max(cost, 0.0)))
    return found


_Layer = QuantizedConv2d | QuantizedLinear | ActivationQuantizer


def _layers(network: fx.GraphModule, *, activations: bool) -> Iterator[tuple[str, _Layer]]:
    seen: set[nn.Module] = set()
    for node, module in calls(network, QuantizedConv2d, QuantizedLinear, ActivationQuantizer):
        if module in seen:  # both operands of a maximum pass one quantizer
            continue
        seen.add(module)
        is_quantizer = isinstance(module, ActivationQuantizer)
        if (is_quantizer and activations) or (not is_quantizer and module.weight_quantizer is not None):
            yield str(node.target), module  # type: ignore[misc]


@contextlib.contextmanager
def _quantized(module: _Layer, weight_bits: int | None) -> Iterator[int]:
    """Switch one quantizer on, or one of `weight_bits` in its place; gives its bits."""
    own = module if isinstance(module, ActivationQuantizer) else module.weight_quantizer
    assert own is not None
    used = own
    if weight_bits is not None and not isinstance(module, ActivationQuantizer):
        used = module.weight_quantizer = WeightQuantizer(module.weight.shape[0], weight_bits)
        used.start_from(module.weight)
    used.enabled = True
    try:
        yield used.bits
    finally:
        if isinstance(own, WeightQuantizer) and not isinstance(module, ActivationQuantizer):
            module.weight_quantizer = own
        own.enabled = False


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
