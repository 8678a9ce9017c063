"""Ranges started from the float network's own values."""

from __future__ import annotations

import torch
from networks import MEAN, NETWORKS, STD, random_images, randomize
from torch import nn

from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.traversal import calls
from efq.toolchain.lowering.absorb_affine import absorb_affine
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm
from efq.toolchain.lowering.quantization.insert_quantizers import insert_quantizers
from efq.toolchain.lowering.quantization.start_ranges import start_ranges
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.recipes.recipe import Recipe

IMAGES = random_images(40)


def test_every_quantizer_fits_what_it_sees() -> None:
    """8 bits: every quantizer's relative squared error on the network's values is small, and nothing keeps a hook."""
    graph = trace(randomize(NETWORKS["pooling"]()), MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    absorb_affine(graph)
    insert_quantizers(graph, Recipe(name="t"))
    quantizers = [module for _, module in calls(graph, ActivationQuantizer)]
    assert start_ranges(graph, IMAGES).changed == len(quantizers) == 9
    seen: dict[nn.Module, float] = {}

    def record(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        wanted = inputs[0] if module.signed else inputs[0].clamp(0, module.upper_bound)  # type: ignore[arg-type]
        seen[module] = float((output - wanted).square().mean() / wanted.square().mean())

    hooks = [module.register_forward_hook(record) for module in quantizers]
    with torch.no_grad():
        graph(IMAGES)
    for hook in hooks:
        hook.remove()
    assert len(seen) == 9
    assert max(seen.values()) < 1e-3
    assert all(module.enabled and not module._forward_pre_hooks for module in quantizers)
