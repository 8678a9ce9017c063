"""Gates, swishes, selected channels, pads and crops in lowering: the float function stays, the operations go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from graphs import GRAPHS, GatedNetwork, conv, faces, graph_of, make_graph_student
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.nn import functional

from efq.toolchain.graph.operations import (
    ChannelAffine,
    ClippedRelu,
    Crop,
    GlobalAveragePool,
    ImageInput,
    Multiply,
    Pad,
    QuantizedConv2d,
    SelectChannels,
)
from efq.toolchain.graph.traversal import calls, gate_branches, module_of, producer
from efq.toolchain.lowering.absorb_affine import border_difference
from efq.toolchain.lowering.activations.gates import fold_hard_gates, join_swishes, split_swishes
from efq.toolchain.lowering.bound_crops import bound_crops
from efq.toolchain.lowering.fold_pads import fold_pads
from efq.toolchain.lowering.fold_selects import fold_selects
from efq.toolchain.quantizers import ActivationQuantizer, set_enabled

IMAGES = faces(3, 32, 28)


def kinds(graph: fx.GraphModule, *wanted: type[nn.Module]) -> int:
    return sum(1 for _ in calls(graph, *wanted))


class Sequence(nn.Module):
    """The image through layers, in their order."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.image, self.layers = ImageInput(), nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.layers(self.image(images))
        return result


@torch.no_grad()
def assert_unchanged(graph: fx.GraphModule, rewrite: Callable[[fx.GraphModule], object]) -> None:
    wanted = graph(IMAGES)
    rewrite(graph)
    graph.graph.lint()
    found = graph(IMAGES)
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


def test_a_hardsigmoid_behind_a_convolution_is_its_clamp() -> None:
    graph = graph_of(GatedNetwork(nn.Hardswish, nn.Hardsigmoid))
    assert_unchanged(graph, fold_hard_gates)
    assert kinds(graph, nn.Hardsigmoid) == 0
    assert [module.upper_bound for _, module in calls(graph, ClippedRelu)] == [1.0, 1.0]


def test_a_hardsigmoid_of_what_others_read_stays() -> None:
    graph = graph_of(GatedNetwork(nn.Hardswish, nn.Sigmoid))
    split_swishes(graph)
    assert_unchanged(graph, fold_hard_gates)
    assert kinds(graph, nn.Hardsigmoid) == 3


@pytest.mark.parametrize("swish", [nn.Hardswish, nn.SiLU])
def test_swishes_are_products_and_again_swishes(swish: type[nn.Module]) -> None:
    graph = graph_of(GatedNetwork(swish, nn.Sigmoid))
    assert_unchanged(graph, split_swishes)
    assert (kinds(graph, swish), kinds(graph, Multiply)) == (0, 5)
    assert_unchanged(graph, join_swishes)
    assert (kinds(graph, swish), kinds(graph, Multiply)) == (3, 2)


def test_gates_and_what_they_are_computed_from_have_8_bits() -> None:
    graph = graph_of(GatedNetwork(nn.SiLU, nn.Sigmoid))
    pools = {node for node, _ in calls(graph, GlobalAveragePool)}
    assert len(gate_branches(graph) & pools) == 2  # not that of the embedding
    student = make_graph_student(graph, activation_bits=4, elementwise_8bit="none")
    gates = gate_branches(student.network)
    bits = {
        node: module.bits
        for node, module in calls(student.network, ActivationQuantizer)
        if isinstance(module, ActivationQuantizer)
    }
    assert {bits[node] for node in gates if node in bits} == {8}
    assert {bits[node] for node in bits if isinstance(module_of(student.network, producer(node)), nn.Sigmoid)} == {8}
    assert 4 in bits.values()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_quantizers_switched_off_leave_the_float_function(name: str, symmetric: bool) -> None:
    graph = graph_of(GRAPHS[name]())
    with torch.no_grad():
        graph.get_submodule("normalization").bias.zero_()  # type: ignore[union-attr,operator]
        wanted = graph(IMAGES)
    student = make_graph_student(graph, images=8, symmetric_activations=symmetric, float_share=0.5)
    set_enabled(student.network, enabled=False)
    with torch.no_grad():
        found = student.network(IMAGES)
    assert float((found - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())


def test_pads_go_into_convolutions_where_sides_are_alike() -> None:
    graph = graph_of(GRAPHS["padded"]())
    assert_unchanged(graph, fold_pads)
    left = [module for _, module in calls(graph, Pad)]
    assert [module.edges for module in left if isinstance(module, Pad)] == [(0, 0, 1, 1), (1, 0, 0, 2), (0, 1, 2, 0)]
    assert graph.get_submodule("second").padding == (1, 2)


def test_pads_behind_each_other_are_one() -> None:
    first, second = Pad(above=0, below=1, before=2, behind=0), Pad(above=1, below=0, before=0, behind=2)
    graph = graph_of(Sequence(first, second, conv(3, 4, 3)))
    assert_unchanged(graph, fold_pads)
    assert kinds(graph, Pad) == 0
    assert graph.get_submodule("layers.2").padding == (2, 3)


def test_the_border_of_an_absorbed_map_counts_pads() -> None:
    layer, offset = QuantizedConv2d(3, 4, 3), torch.tensor([0.3, -0.2, 0.1])
    pad = Pad(above=0, below=2, before=1, behind=0)
    constant = offset.reshape(1, 3, 1, 1).expand(1, 3, 9, 9)
    with torch.no_grad():
        inside = functional.conv2d(constant, layer.weight)[..., :1, :1]
        difference = (functional.conv2d(pad(constant), layer.weight) - inside).abs().max()
        assert border_difference(layer, offset, [pad]) == pytest.approx(float(difference), rel=1e-5)


def test_shuffles_compose_and_go_into_dense_layers() -> None:
    graph = graph_of(GRAPHS["shuffled"]())
    assert_unchanged(graph, lambda network: fold_selects(network, IMAGES[:1]))
    assert kinds(graph, SelectChannels) == 4  # the halves of the two units: parts of what others read as well
    assert graph.get_submodule("last").out_channels == 16


def test_crops_have_the_bounds_of_their_maps() -> None:
    whole = Crop(top=0, bottom=1 << 30, left=-28, right=28)
    graph = graph_of(Sequence(conv(3, 4), Crop(top=1, bottom=-1, left=0, right=1 << 30), whole, conv(4, 4)))
    assert_unchanged(graph, lambda network: bound_crops(network, IMAGES[:1]))
    (crop,) = [module for _, module in calls(graph, Crop)]
    assert (crop.top, crop.bottom, crop.left, crop.right) == (1, 31, 0, 28)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_selections_leave_the_function(data: st.DataObject) -> None:
    """Behind a dense layer, through what treats all channels alike, in front of dense and depthwise layers."""
    between: list[nn.Module] = [
        nn.PReLU(6), ChannelAffine(6), nn.ReLU(), nn.Hardswish(), conv(6, 6, 3, 1, 6), nn.MaxPool2d(2),
        Pad(above=0, below=1, before=1, behind=0),
    ]  # fmt: skip
    layers = [conv(3, 6), *data.draw(st.lists(st.sampled_from(between), max_size=3, unique=True))]
    channels = 6
    for _ in range(data.draw(st.integers(1, 2))):
        chosen = data.draw(st.lists(st.integers(0, channels - 1), min_size=1, max_size=8))
        layers.append(SelectChannels(data.draw(st.sampled_from([chosen, range(channels), range(channels)[::-1]]))))
        channels = len(layers[-1].channels)  # type: ignore[arg-type]
    layers.append(data.draw(st.sampled_from([conv(channels, 5), conv(channels, channels, 3, 1, channels)])))
    assert_unchanged(graph_of(Sequence(*layers)), lambda graph: fold_selects(graph, IMAGES[:1]))
