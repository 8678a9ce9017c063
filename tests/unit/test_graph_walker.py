"""The walk over a network's graph, and copies of it."""

from __future__ import annotations

import pytest
import torch
from messages import raises_naming
from networks import MEAN, NETWORKS, STD, make_student, random_images, randomize
from torch import Tensor, nn

from efq.runtime.errors import UsageError
from efq.toolchain.graph.description import build_graph, clone_network, describe_graph
from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import WEIGHTED, ImageInput, LeakyRelu, QuantizedConv2d, arguments_of
from efq.toolchain.graph.traversal import calls, insert_behind, share_modules
from efq.toolchain.graph.walker import Call, of_kind, walk
from efq.toolchain.quantizers import ActivationQuantizer

IMAGES = random_images(3)


def compute(call: Call, inputs: list[Tensor]) -> Tensor:
    result: Tensor = call.module(*inputs)
    return result


@pytest.mark.parametrize("name", NETWORKS)
def test_a_walk_that_computes_is_the_network(name: str) -> None:
    graph = trace(randomize(NETWORKS[name]()), MEAN, STD, height=28, width=28)
    with torch.no_grad():
        torch.testing.assert_close(walk(graph, IMAGES, {nn.Module: compute}), graph(IMAGES), rtol=0, atol=0)


def test_the_nearest_kind_decides() -> None:
    def count(kind: str) -> None:
        seen[kind] = seen.get(kind, 0) + 1

    def first(call: Call, inputs: list[None]) -> None:
        count("convolution")

    def other(call: Call, inputs: list[None]) -> None:
        count("other")

    seen: dict[str, int] = {}
    graph = trace(randomize(NETWORKS["bottleneck"]()), MEAN, STD, height=28, width=28)
    walk(graph, None, {QuantizedConv2d: first, nn.Module: other})
    nodes = [node for node in graph.graph.nodes if node.op == "call_module"]
    convolutions = len(list(calls(graph, QuantizedConv2d)))
    assert seen == {"convolution": convolutions, "other": len(nodes) - convolutions}
    assert of_kind(LeakyRelu(), {nn.Module: 1, LeakyRelu: 2}) == 2


def test_a_kind_without_an_entry_is_named() -> None:
    with raises_naming(UsageError, "LeakyRelu", "ImageInput"):
        of_kind(LeakyRelu(), {ImageInput: 1})


def test_a_clone_has_weights_of_its_own_and_a_shared_graph_has_not() -> None:
    network = make_student(randomize(NETWORKS["bottleneck"]())).network
    before = network(IMAGES)
    clone, shared = clone_network(network), share_modules(network)
    insert_behind(shared, next(iter(calls(shared, ImageInput)))[0], "added", nn.Identity())
    shared.recompile()
    assert torch.equal(shared(IMAGES), before)
    assert len(shared.graph.nodes) == len(network.graph.nodes) + 1
    for parameter in clone.parameters():
        parameter.data.zero_()
    assert torch.equal(network(IMAGES), before)


@pytest.mark.parametrize("kinds", [(ActivationQuantizer,), WEIGHTED])
def test_an_operation_knows_its_arguments(kinds: tuple[type[nn.Module], ...]) -> None:
    network = make_student(randomize(NETWORKS["preactivation"]()), weight_bits=5).network
    found = [module for _, module in calls(network, *kinds)]
    assert found
    for module in found:
        again = type(module)(**arguments_of(module))
        assert arguments_of(again) == arguments_of(module)
        assert {key: value.shape for key, value in again.state_dict().items()} == {
            key: value.shape for key, value in module.state_dict().items()
        }


def test_what_is_no_operation_is_not_described() -> None:
    network = make_student(randomize(NETWORKS["bottleneck"]())).network
    assert len(build_graph(describe_graph(network)).graph.nodes) == len(network.graph.nodes)
    insert_behind(network, next(iter(calls(network, ImageInput)))[0], "added", nn.Identity())
    with pytest.raises(AssertionError, match="Identity"):
        describe_graph(network)
