"""Remove the channels inside blocks that matter least, so that the layers around them become narrower.

A block here is what lies between two full convolutions (or linear layers): activations and depthwise convolutions, each
read by the next alone. Its channels are nobody else's, so a channel goes with its filter, its depthwise kernel and its
slice of the last layer's weight.

Requires: a graph with folded BatchNorms; a few hundred faces. Ensures: the asked share of the multiply-adds is gone, or
as much as leaves a quarter of each block, in steps of 16 channels; the last layer of each block is solved again for its
old outputs. The float function changes; a note for each block says how many channels stay.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, fx, nn

from efq.toolchain.graph.operations import (
    FLOAT_ACTIVATIONS,
    WEIGHTED,
    Add,
    ClippedRelu,
    LeakyRelu,
    QuantizedConv2d,
    QuantizedLinear,
)
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, module_of
from efq.toolchain.lowering.reconstruct import reconstruct

STEP = 16  # channels removed at a time: integer kernels compute at least so many at once
_LEAST_SHARE = 0.25
_ELEMENTWISE = (nn.ReLU, nn.ReLU6, nn.PReLU, LeakyRelu, ClippedRelu, *FLOAT_ACTIVATIONS)
_FACES = 64
_DAMPING = 1e-4  # of the mean variance, added to each


@dataclasses.dataclass(kw_only=True)
class _Block:
    """`nodes`: the full layer before, what lies inside, the full layer after. `order`: channels, the first to go first.

    `lost[k]` is the squared error of the last layer's output without the first k channels of `order`, the others
    making up for them as well as they can, as a share of the variance of the residual sum it goes into (else of its
    own).
    """

    nodes: list[fx.Node]
    order: Tensor
    lost: Tensor
    removed: int = 0

    def saving(self) -> float:
        """The share of its layers' multiply-adds that the next step saves."""
        return STEP / (len(self.order) - self.removed)

    def price(self, work: dict[fx.Node, float]) -> float:
        """Variance lost for each multiply-add saved by the next step; infinite when the block has no more to give."""
        after = self.removed + STEP
        if len(self.order) - after < max(STEP, _LEAST_SHARE * len(self.order)):
            return float("inf")
        saved = self.saving() * sum(work.get(node, 0.0) for node in self.nodes)
        return float(self.lost[after] - self.lost[self.removed]) / saved


@torch.no_grad()
def prune_channels(network: fx.GraphModule, pruned_share: float, images: Tensor) -> PassResult:
    """Prune in place; `images` uint8 (N, H, W, 3) are the faces the variances are measured on."""
    if pruned_share == 0.0:
        return PassResult(changed=0)
    images = images[:_FACES]
    found = _find_blocks(network)
    read = {block[-2] for block in found} | {node for node, _ in calls(network, *WEIGHTED, Add)}
    values = _values(network, read, images)
    blocks = [_describe(network, block, values) for block in found]
    _spend(blocks, {node: _multiply_adds(network, node, values) for node, _ in calls(network, *WEIGHTED)}, pruned_share)
    pruned = [block for block in blocks if block.removed]
    notes = []
    for block in pruned:
        kept = block.order[block.removed :].sort().values
        for node in block.nodes:
            _narrow(network, node, kept, is_first=node is block.nodes[0], is_last=node is block.nodes[-1])
        last, before = block.nodes[-1], block.nodes[-2]
        layer = module_of(network, last)
        assert isinstance(layer, QuantizedConv2d | QuantizedLinear)
        reconstruct(layer, _values(network, {before}, images)[before], values[last])
        notes.append(f"{block.nodes[0].target}: {len(kept)} of {len(block.order)} channels kept")
    network.recompile()
    return PassResult(changed=len(pruned), notes=tuple(notes))


def _spend(blocks: list[_Block], work: dict[fx.Node, float], pruned_share: float) -> None:
    """Remove the cheapest 16 channels again and again until that share of the multiply-adds is saved.

    `work`, the multiply-adds of each layer, is kept up to date: a layer between two blocks loses to both.
    """
    left = (1 - pruned_share) * sum(work.values())
    while blocks and sum(work.values()) > left:
        block = min(blocks, key=lambda block: block.price(work))
        if block.price(work) == float("inf"):
            return
        for node in block.nodes:
            if node in work:
                work[node] *= 1 - block.saving()
        block.removed += STEP


def _find_blocks(network: fx.GraphModule) -> list[list[fx.Node]]:
    found = []
    for node, module in calls(network, QuantizedConv2d, QuantizedLinear):
        block = [node]
        while _is_full(module) and len(block[-1].users) == 1:
            (reader,) = block[-1].users
            block.append(reader)
            inside = module_of(network, reader)
            if _is_full(inside):
                found.append(block)
                break
            if not isinstance(inside, _ELEMENTWISE) and not _is_depthwise(inside):
                break
    return found


def _is_full(module: nn.Module | None) -> bool:
    return isinstance(module, QuantizedLinear) or (isinstance(module, QuantizedConv2d) and module.groups == 1)


def _is_depthwise(module: nn.Module | None) -> bool:
    return isinstance(module, QuantizedConv2d) and module.groups == module.in_channels == module.out_channels


def _values(network: fx.GraphModule, nodes: set[fx.Node], images: Tensor) -> dict[fx.Node, Tensor]:
    """What each of `nodes` gives for `images`."""
    found: dict[fx.Node, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n in nodes:
                found[n] = result
            return result

    Recorder(network).run(images)
    return found


def _describe(network: fx.GraphModule, nodes: list[fx.Node], values: dict[fx.Node, Tensor]) -> _Block:
    last = module_of(network, nodes[-1])
    assert isinstance(last, QuantizedConv2d | QuantizedLinear)
    order, lost = _removal_order(last.weight.transpose(0, 1).flatten(1), values[nodes[-2]].transpose(0, 1).flatten(1))
    sums = [user for user in nodes[-1].users if isinstance(module_of(network, user), Add)]
    lost /= float(values[sums[0] if sums else nodes[-1]].transpose(0, 1).flatten(1).var(1).sum().clamp(min=1e-20))
    return _Block(nodes=nodes, order=order, lost=lost)


def _removal_order(weight: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The order that loses least, and the squared error before each removal and after the last.

    `weight` (C, outputs) and `inputs` (C, positions). Hassibi and Stork 1993 (optimal brain surgeon) for whole inputs
    of a linear map: without channel c the squared error is |w_c|^2 / (H^-1)_cc when the other weights are solved
    again, H being the inputs' covariance; both are updated after each removal.
    """
    weight = weight.double()
    covariance = torch.cov(inputs.double())
    damping = _DAMPING * float(covariance.diagonal().mean()) + 1e-12
    inverse = torch.linalg.inv(covariance + damping * torch.eye(len(weight), dtype=torch.float64))
    order, lost, left = [], [0.0], torch.ones(len(weight), dtype=torch.bool)
    for _ in range(len(weight)):
        errors = torch.where(left, weight.square().sum(1) / inverse.diagonal().clamp(min=1e-30), torch.inf)
        channel = int(errors.argmin())
        order.append(channel)
        lost.append(lost[-1] + float(errors[channel]))
        row = inverse[channel] / inverse[channel, channel]
        weight = weight - torch.outer(row, weight[channel])
        inverse = inverse - torch.outer(inverse[:, channel], row)
        left[channel] = False
    return torch.tensor(order), torch.tensor(lost)


def _multiply_adds(network: fx.GraphModule, node: fx.Node, values: dict[fx.Node, Tensor]) -> float:
    """Of one image."""
    module = module_of(network, node)
    assert isinstance(module, WEIGHTED)
    return values[node][0].numel() * module.weight[0].numel()


def _narrow(network: fx.GraphModule, node: fx.Node, kept: Tensor, *, is_first: bool, is_last: bool) -> None:
    """Keep the channels `kept` of one node's module."""
    module = module_of(network, node)
    if isinstance(module, nn.PReLU):
        module.weight, module.num_parameters = nn.Parameter(module.weight[kept]), len(kept)
    if not isinstance(module, QuantizedConv2d | QuantizedLinear):
        return
    if is_last:
        module.weight = nn.Parameter(module.weight[:, kept])
    else:
        assert module.bias is not None
        module.weight, module.bias = nn.Parameter(module.weight[kept]), nn.Parameter(module.bias[kept])
    if isinstance(module, QuantizedLinear):
        module.out_features, module.in_features = module.weight.shape
        return
    if not (is_first or is_last):
        module.groups = len(kept)
    module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
