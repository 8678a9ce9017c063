"""Tracing: every supported network becomes a graph of known operations with the same float function."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from messages import raises_naming
from networks import MEAN, NETWORKS, STD, conv_block, normalized, random_images, randomize, relative_difference
from torch import Tensor, nn
from torch.nn import functional

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.description import clone_network
from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import (
    OPERATIONS,
    Add,
    ChannelAffine,
    Concat,
    Crop,
    Flatten,
    GlobalAveragePool,
    LeakyRelu,
)
from efq.toolchain.graph.traversal import calls

IMAGES = random_images(4)


@pytest.mark.parametrize("name", NETWORKS)
def test_float_function_is_unchanged(name: str) -> None:
    network = randomize(NETWORKS[name]())
    graph = trace(network, MEAN, STD, height=28, width=28)
    assert relative_difference(graph, normalized(network), IMAGES) < 1e-5
    known = (*OPERATIONS, nn.PReLU, nn.ReLU6)
    for node in graph.graph.nodes:
        assert node.op in ("placeholder", "output", "call_module")
        if node.op == "call_module":
            assert isinstance(graph.get_submodule(str(node.target)), known)


def test_the_network_itself_is_left_alone() -> None:
    network = randomize(NETWORKS["bottleneck"]()).requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    graph = trace(network, MEAN, STD, height=28, width=28)
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_normalization_of_other_networks() -> None:
    """ImageNet's mean and standard deviation, in pixel units."""
    from efq.toolchain.teachers.normalized_network import NormalizedNetwork

    mean, std = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
    network = randomize(nn.Sequential(nn.Conv2d(3, 4, 5), nn.Flatten()))
    graph = trace(network, mean, std, height=28, width=28)
    assert relative_difference(graph, NormalizedNetwork(network, mean, std), IMAGES) < 1e-5


class Forms(nn.Module):
    """The function forms of every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.single_slope = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :, 2:20]
        a, b = functional.relu6(self.first(x)), functional.leaky_relu(self.second(x), 0.3)
        c = torch.add(a, b).relu()
        c += functional.dropout(b, training=self.training)
        d = torch.cat((self.single_slope(c), a), dim=1).contiguous()
        return d.mean((2, 3), keepdim=True).reshape(d.size(0), -1)


def test_function_forms() -> None:
    network = randomize(Forms(), slopes=(0.4,))
    graph = trace(network, MEAN, STD, height=28, width=28)
    assert relative_difference(graph, normalized(network), IMAGES) < 1e-5
    kinds = [type(module) for _, module in calls(graph, nn.Module)]
    assert [kinds.count(kind) for kind in (Crop, nn.ReLU6, LeakyRelu, Add, nn.ReLU, Concat)] == [1, 1, 2, 2, 1, 1]
    assert [kinds.count(kind) for kind in (GlobalAveragePool, Flatten)] == [1, 1]


class Twice(nn.Module):
    """One convolution and one PReLU module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.layer, self.prelu = nn.Conv2d(4, 4, 3, 1, 1), nn.PReLU(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(2):
            x = self.prelu(self.layer(x))
        return torch.flatten(x, 1)


def test_every_call_gets_its_own_module() -> None:
    network = randomize(Twice())
    graph = trace(network, MEAN, STD, height=28, width=28)
    modules = [module for _, module in calls(graph, nn.Module)]
    assert len({id(module) for module in modules}) == len(modules)
    assert relative_difference(graph, normalized(network), IMAGES) < 1e-5


def test_batchnorm_without_learned_scale() -> None:
    network = randomize(nn.Sequential(nn.Conv2d(3, 4, 28), nn.Flatten()))
    plain = nn.BatchNorm1d(4, affine=False)
    assert plain.running_mean is not None
    plain.running_mean.fill_(0.5)
    network.append(plain.eval())
    graph = trace(network, MEAN, STD, height=28, width=28)
    assert len(list(calls(graph, ChannelAffine))) == 2
    assert relative_difference(graph, normalized(network), IMAGES) < 1e-5


class Expression(nn.Module):
    """A convolution, `function` on (N, 4, 28, 28), and a linear layer on its mean."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.layer, self.fc, self.function = nn.Conv2d(3, 4, 1), nn.LazyLinear(8), function

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(self.function(self.layer(x)).mean((2, 3)))
        return result


def expression(function: Any) -> Expression:
    network = Expression(function)
    network(torch.rand(2, 3, 28, 28))
    return network


@pytest.mark.parametrize(
    ("function", "fact"),
    [
        (lambda x: torch.exp(x), "exp()"),
        (lambda x: torch.add(x, x * x, alpha=2), "mul"),
        (lambda x: torch.cat([x, x], dim=2), "cat()"),
        (lambda x: x.softmax(1), "softmax()"),
        (lambda x: x.cumsum(2), "cumsum()"),
        (lambda x: x.transpose(2, 3), "transpose()"),
        (lambda x: x.flip(3), "flip()"),
        (lambda x: x + torch.rand(1), "rand"),
        (lambda x: x if x.sum() > 0 else -x, "Expression"),
        (lambda x: functional.layer_norm(x, x.shape[1:]), "layer_norm()"),
        (lambda x: x / x.sum((2, 3), keepdim=True), "div"),
        (lambda x: x @ x.transpose(2, 3), "matmul()"),
        (lambda x: functional.interpolate(x, scale_factor=2), "(1, 4, 56, 56)"),
    ],
)
def test_functions_without_integer_form(function: Any, fact: str) -> None:
    """Named with the line that calls them, never with a place in memory."""
    network = expression(function)
    with raises_naming(LoweringError, fact, f"{__file__}:{function.__code__.co_firstlineno}") as caught:
        trace(network, MEAN, STD, height=28, width=28)
    assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize(
    "module",
    [
        nn.GroupNorm(2, 4),
        nn.InstanceNorm2d(4),
        nn.LayerNorm((4, 28, 28)),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose2d(4, 4, 2),
        nn.AdaptiveAvgPool2d(5),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.Upsample(scale_factor=2),
        nn.Softplus(),
        nn.Softmax2d(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_layers_without_integer_form(module: nn.Module) -> None:
    name = type(module).__name__.replace("Softplus", "softplus").replace("Softmax2d", "Softmax2d")
    with raises_naming(LoweringError, 1, name):
        trace(nn.Sequential(nn.Conv2d(3, 4, 1), module, nn.Flatten()), MEAN, STD, height=28, width=28)


def test_two_inputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with raises_naming(LoweringError, 2, "x", "y"):
        trace(Two(), MEAN, STD, height=28, width=28)


def test_conv_block_has_one_affine() -> None:
    graph = trace(randomize(nn.Sequential(*conv_block(3, 4, 3), nn.Flatten())), MEAN, STD, height=28, width=28)
    assert [node.name for node, _ in calls(graph, ChannelAffine)] == ["image_normalization", "_1"]


@pytest.mark.parametrize("name", ["a-b", "straße", "two words", "1"])
def test_layers_with_odd_names_come_back(name: str) -> None:
    network = nn.Sequential()
    network.add_module(name, nn.Conv2d(3, 4, 28))
    network.add_module("flatten", nn.Flatten())
    graph = trace(network, MEAN, STD, height=28, width=28)
    rebuilt = clone_network(graph)
    with torch.no_grad():
        assert torch.equal(rebuilt(random_images(2)), graph(random_images(2)))


def test_a_layer_whose_name_cannot_be_kept_is_named() -> None:
    network = nn.Sequential()
    network.add_module("a$b", nn.Conv2d(3, 4, 28))
    network.add_module("flatten", nn.Flatten())
    with raises_naming(LoweringError, "a$b"):
        trace(network, MEAN, STD, height=28, width=28)
