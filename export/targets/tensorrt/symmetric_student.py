"""The symmetric form of a student, which TensorRT's graph is written from; one trained otherwise is requantized.

A student made by a recipe with `symmetric_activations` only gets its scales as the graph stores them, in float16. Any
other has quantizers that TensorRT cannot hold (unsigned, with zero points, on more tensors) and exact PReLUs written
as maxima. These are rewritten: each maximum is a PReLU again, each unsigned quantizer a ReLU, and the quantizers are
placed anew, each int8 with zero point 0 and as wide as the one it replaces. That costs up to one bit of each
activation, which the report states and the cosine measures.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from efq.export.targets.tensorrt.lint.scales_and_zero_points import LEAST_FLOAT16_SCALE
from efq.runtime.errors import UsageError
from efq.toolchain.graph.description import clone_network
from efq.toolchain.graph.operations import (
    IMAGE_SCALE,
    SCALE_PRESERVING,
    ChannelAffine,
    ClippedRelu,
    ImageInput,
    Maximum,
)
from efq.toolchain.graph.traversal import calls, insert_after, module_of, producer, remove, replace_module
from efq.toolchain.lowering.activations.gates import join_swishes
from efq.toolchain.lowering.quantization.insert_symmetric_quantizers import insert_quantizers_where_read
from efq.toolchain.networks import torch_embedding
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import Student


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Range:
    """From `low` to `high` in steps of `step`."""

    low: float
    high: float
    step: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Requantization:
    """What changed: quantizers placed anew, by how much the widest of their steps grew, cosine to the student."""

    quantizers: int
    widest_step_ratio: float
    least_cosine: float
    mean_cosine: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return (
            "requantized: the student was not trained with symmetric activations; steps grew by up to "
            f"{self.widest_step_ratio:.2f} x, mean cosine to the student {self.mean_cosine:.4f} (recipe tensorrt "
            "trains for this target)"
        )


def symmetric_form(student: Student, images: NDArray[np.uint8]) -> tuple[Student, Requantization | None]:
    """The student in TensorRT's form, and what that changed: None for one that was trained in it.

    `images` uint8 (N, H, W, 3) are what both are compared on. Raises UsageError for activations of other than 8 bits.
    """
    network = clone_network(student.network)
    if student.recipe.symmetric_activations:
        _round_scales(network)
        return dataclasses.replace(student, network=network.eval()), None
    if student.recipe.activation_bits != 8:
        message = (
            f"expected 8-bit activations to requantize, found {student.recipe.activation_bits}-bit ones: distill "
            "with a recipe that has symmetric_activations = true"
        )
        raise UsageError(message)
    quantizers, widest = _requantize(network)
    _round_scales(network)
    changed = dataclasses.replace(student, network=network.eval())
    cpu = torch.device("cpu")
    cosines = (torch_embedding(changed.network, cpu)(images) * torch_embedding(student.network, cpu)(images)).sum(1)
    return changed, Requantization(
        quantizers=quantizers,
        widest_step_ratio=widest,
        least_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
    )


@torch.no_grad()
def _requantize(network: fx.GraphModule) -> tuple[int, float]:
    """Rewrite in place; how many quantizers there are now and the largest ratio of a step to the one before."""
    ranges = _restore_activations(network)
    for node, _ in calls(network, ActivationQuantizer):
        remove(network, node)
    ranges |= {swish: ranges[product] for product, swish in join_swishes(network).items() if product in ranges}
    for _, affine in calls(network, ChannelAffine):
        affine.weight_quantizer = None  # type: ignore[assignment]
    inserted = insert_quantizers_where_read(network, bits=8)
    widest = 1.0
    for source, quantizer in inserted.items():
        before = _range_at(network, source, ranges)
        scale = max(-before.low / -quantizer.lowest, before.high / quantizer.highest)
        quantizer.log_scale.fill_(math.log(scale))
        widest = max(widest, scale / before.step)
    for node, _ in calls(network, ClippedRelu):
        if _is_only_quantized(network, node):  # which ends where the clamp did
            replace_module(network, node, nn.ReLU())
    return len(inserted), widest


@torch.no_grad()
def _restore_activations(network: fx.GraphModule) -> dict[fx.Node, _Range]:
    """PReLUs for maxima and ReLUs for unsigned quantizers; the range of every node that was quantized."""
    image = _Range(low=-128 * IMAGE_SCALE, high=127 * IMAGE_SCALE, step=IMAGE_SCALE)
    ranges: dict[fx.Node, _Range] = {node: image for node, _ in calls(network, ImageInput)}
    for node, quantizer in calls(network, ActivationQuantizer):
        assert isinstance(quantizer, ActivationQuantizer)
        source = producer(node)
        ranges[source] = _range_of(quantizer)
        if not quantizer.signed and not isinstance(module_of(network, source), nn.Sigmoid | nn.Hardsigmoid):
            relu = insert_after(network, source, f"{node.target}_relu", _relu_of(quantizer), (source,))
            node.replace_input_with(source, relu)
            ranges[relu] = ranges[source]
    for node, _ in calls(network, Maximum):
        first, second = node.all_input_nodes
        source = _before(network, first, ActivationQuantizer)
        affine = module_of(network, _before(network, second, ActivationQuantizer, nn.ReLU))
        assert isinstance(affine, ChannelAffine)
        prelu = nn.PReLU(affine.channels)
        slopes = affine.weight if affine.weight_quantizer is None else affine.weight_quantizer(affine.weight[:, None])
        prelu.weight.copy_(slopes.flatten())
        restored = insert_after(network, source, f"{node.target}_prelu", prelu, (source,))
        ranges[restored] = _behind_prelu(_range_at(network, source, ranges), prelu.weight.detach())
        node.replace_all_uses_with(restored)
        network.graph.erase_node(node)
    network.graph.eliminate_dead_code()
    network.delete_all_unused_submodules()
    network.recompile()
    return ranges


def _relu_of(quantizer: ActivationQuantizer) -> nn.Module:
    """What an unsigned quantizer does but for rounding: one with an upper bound ends there, or where its grid does."""
    if quantizer.upper_bound is None:
        return nn.ReLU()
    return ClippedRelu(min(quantizer.upper_bound, quantizer.highest * float(quantizer.scale.detach())))


def _is_only_quantized(network: fx.GraphModule, node: fx.Node) -> bool:
    readers = [(user, module_of(network, user)) for user in node.users]
    return all(
        isinstance(module, ActivationQuantizer)
        or (isinstance(module, SCALE_PRESERVING) and _is_only_quantized(network, user))
        for user, module in readers
    )


def _before(network: fx.GraphModule, node: fx.Node, *kinds: type[nn.Module]) -> fx.Node:
    """`node`, or the nearest before it that is of none of `kinds`."""
    while isinstance(module_of(network, node), kinds):
        node = producer(node)
    return node


def _range_at(network: fx.GraphModule, node: fx.Node, ranges: Mapping[fx.Node, _Range]) -> _Range:
    """Of `node`, or of what it quantizes or only moves."""
    while node not in ranges and isinstance(module_of(network, node), (ActivationQuantizer, *SCALE_PRESERVING)):
        node = producer(node)
    return ranges[node]


def _range_of(quantizer: ActivationQuantizer) -> _Range:
    step, zero_point = float(quantizer.scale.detach()), quantizer.integer_zero_point
    return _Range(low=(quantizer.lowest - zero_point) * step, high=(quantizer.highest - zero_point) * step, step=step)


def _behind_prelu(before: _Range, slopes: Tensor) -> _Range:
    """The range of prelu(x) for x in `before`."""
    ends = [float(value) for value in slopes * before.low]
    return dataclasses.replace(before, low=min(0.0, *ends), high=max(before.high, *ends))


@torch.no_grad()
def _round_scales(network: fx.GraphModule) -> None:
    """Every activation scale to a float16 number that TensorRT keeps: a tensor of next to nothing gets a wider one."""
    for _, quantizer in calls(network, ActivationQuantizer):
        assert isinstance(quantizer, ActivationQuantizer)
        quantizer.log_scale.copy_(quantizer.scale.clamp(min=LEAST_FLOAT16_SCALE).half().double().log())
