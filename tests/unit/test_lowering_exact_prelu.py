"""PReLU written as integer operations is exact for every slope."""

from __future__ import annotations

import pytest
import torch
from messages import raises_naming
from networks import MEAN, NETWORKS, SLOPES, STD, normalized, random_images, randomize, relative_difference
from torch import Tensor, fx, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import Add, ChannelAffine, Maximum
from efq.toolchain.graph.traversal import calls
from efq.toolchain.lowering.activations.exact_prelu import exact_prelu
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm

IMAGES = random_images(4)


def folded(network: nn.Module) -> fx.GraphModule:
    graph = trace(network, MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    return graph


@pytest.mark.parametrize(
    "slopes", [(-3.0, -0.5), (0.0,), (0.3, 0.999), (1.0,), (1.001, 2.5, 40.0), SLOPES], ids=lambda slopes: str(slopes)
)
@pytest.mark.parametrize("name", ["bottleneck", "preactivation", "convolution-head"])
def test_float_function_is_unchanged(name: str, slopes: tuple[float, ...]) -> None:
    network = randomize(NETWORKS[name](), slopes=slopes)
    graph = folded(network)
    count = len(list(calls(graph, nn.PReLU)))
    assert exact_prelu(graph).changed == count > 0
    assert not list(calls(graph, nn.PReLU))
    assert relative_difference(graph, normalized(network), IMAGES) < 1e-4


def test_its_form() -> None:
    """max(x, a * x): one depthwise product without bias, all slopes at most 1, and a maximum."""
    graph = folded(randomize(NETWORKS["convolution-head"]()))
    before = len(list(calls(graph, ChannelAffine)))
    exact_prelu(graph)
    (slopes,) = [module for _, module in calls(graph, ChannelAffine)][before:]
    assert isinstance(slopes, ChannelAffine)
    assert not slopes.has_bias
    assert not slopes.bias.requires_grad
    assert float(slopes.weight.detach().max()) <= 1.0
    assert len(list(calls(graph, Maximum))) == 1
    assert not list(calls(graph, nn.ReLU, Add))


class Residual(nn.Module):
    """A PReLU that an addition reads: its slopes above 1 cannot be mirrored."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.prelu, self.layer = nn.Conv2d(3, 4, 3, 2), nn.PReLU(4), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.stem(x))
        return (x + self.layer(x)).flatten(1)


def test_steep_slopes_need_weighted_neighbours() -> None:
    with raises_naming(LoweringError, "prelu", 2, 1):
        exact_prelu(folded(randomize(Residual(), slopes=(1.5, 0.5))))
    gentle = randomize(Residual(), slopes=(0.5, 1.0, -0.5))
    graph = folded(gentle)
    exact_prelu(graph)
    assert relative_difference(graph, normalized(gentle), IMAGES) < 1e-5


def test_behind_a_linear_layer_is_refused() -> None:
    network = randomize(nn.Sequential(nn.Flatten(), nn.Linear(28 * 28 * 3, 4), nn.PReLU(4), nn.Linear(4, 4)))
    with raises_naming(LoweringError, 2, "convolution", "linear layer"):
        exact_prelu(folded(network))


def test_the_gradient_of_a_maximum_goes_to_the_larger_operand() -> None:
    """Where both are equal it goes to the second: never to both, never to none."""
    left = torch.tensor([1.0, -2.0, 3.0, 0.0], requires_grad=True)
    right = torch.tensor([0.5, 4.0, 3.0, 0.0], requires_grad=True)
    found = Maximum()(left, right)
    assert found.tolist() == [1.0, 4.0, 3.0, 0.0]
    torch.autograd.backward((found * torch.tensor([2.0, 3.0, 5.0, 7.0])).sum())
    assert left.grad is not None
    assert right.grad is not None
    assert left.grad.tolist() == [2.0, 0.0, 0.0, 0.0]
    assert right.grad.tolist() == [0.0, 3.0, 5.0, 7.0]
