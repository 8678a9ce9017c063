"""Rounding with compensation: on the grid, with the same means, and closer than rounding to nearest."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS, make_student, random_images, random_rows, randomize
from torch import Tensor, fx, nn

from efq.toolchain.graph.operations import QuantizedConv2d, QuantizedLinear
from efq.toolchain.lowering.quantization import compensate_rounding as module
from efq.toolchain.lowering.quantization.compensate_rounding import compensate_rounding
from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer

IMAGES = random_images(64, seed=5)


def alone(layer: QuantizedConv2d | QuantizedLinear, bits: int) -> fx.GraphModule:
    """A network of this layer only, quantized."""
    layer.weight_quantizer = WeightQuantizer(layer.weight.shape[0], bits)
    layer.weight_quantizer.start_from(layer.weight)
    return _graph(layer)


def inputs_of(layer: QuantizedConv2d | QuantizedLinear) -> int:
    return layer.weight[0].numel()


def _graph(*modules: nn.Module) -> fx.GraphModule:
    root, graph = nn.Module(), fx.Graph()
    node = graph.placeholder("x")
    for place, part in enumerate(modules):
        root.add_module(f"module{place}", part)
        node = graph.call_module(f"module{place}", (node,))
    graph.output(node)
    return fx.GraphModule(root, graph)


def smooth(maps: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(maps, 3, 1, 1)


LAYERS = {
    "pointwise": lambda: QuantizedConv2d(24, 12, 1),
    "full": lambda: QuantizedConv2d(6, 8, 3, 2, 1),
    "depthwise": lambda: QuantizedConv2d(8, 8, 3, 1, 1, groups=8),
    "grouped": lambda: QuantizedConv2d(8, 12, 3, 1, 1, groups=4),
    "linear": lambda: QuantizedLinear(40, 10),
}


@pytest.mark.parametrize("bits", [2, 4, 7, 8])
@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_outputs_come_closer_than_by_rounding_to_nearest(kind: str, bits: int) -> None:
    layer = LAYERS[kind]()
    layer.weight.copy_(random_rows(*layer.weight.shape))
    inputs = layer.in_features if isinstance(layer, QuantizedLinear) else layer.in_channels
    mixing = random_rows(inputs, inputs, seed=1)  # correlated inputs: where there is something to compensate
    values = torch.relu(random_rows(64, 9, 9, inputs, seed=2) @ mixing)
    # Neighbouring pixels resemble each other, too: a depthwise layer reads nothing else.
    values = values[:, 0, 0] if isinstance(layer, QuantizedLinear) else smooth(values.permute(0, 3, 1, 2))
    network = alone(layer, bits)
    assert layer.weight_quantizer is not None
    layer.weight_quantizer.enabled = False
    exact = network(values)
    layer.weight_quantizer.enabled = True
    nearest = float((network(values) - exact).square().mean())
    assert compensate_rounding(network, values).changed == 1
    assert float((network(values) - exact).square().mean()) < (0.9 if inputs_of(layer) > 20 else 0.99) * nearest
    assert torch.allclose(layer.weight_quantizer(layer.weight), layer.weight, atol=1e-6)


@torch.no_grad()
def test_a_layer_of_many_inputs_is_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As all of the second moments of 50,000 inputs, behind a Flatten of large maps, would take 20 GB."""
    values = torch.relu(random_rows(64, 8, seed=2) @ random_rows(8, 250, seed=1))
    weight = random_rows(3, 250)
    layers = []
    for first, last in ((0, 250), (0, 100), (100, 200), (200, 250)):
        layer = QuantizedLinear(last - first, 3)
        layer.weight.copy_(weight[:, first:last])
        network = alone(layer, 4)
        assert layer.weight_quantizer is not None
        layer.weight_quantizer.log_scale.fill_(-2.0)
        with monkeypatch.context() as patch:
            patch.setattr(module, "SYSTEM", (100, 100))
            compensate_rounding(network, values[:, first:last])
        layers.append(layer.weight)
    assert torch.equal(layers[0], torch.cat(layers[1:], 1))


@torch.no_grad()
def test_two_inputs_by_hand() -> None:
    """Two equal inputs, weights 0.4 and 0.4 on the grid of integers: nearest gives 0 + 0, the sum 0.8 wants 1."""
    layer = QuantizedLinear(2, 1)
    layer.weight.copy_(torch.tensor([[0.4, 0.4]]))
    network = alone(layer, 4)
    assert layer.weight_quantizer is not None
    layer.weight_quantizer.log_scale.zero_()
    compensate_rounding(network, torch.ones(64, 2))
    assert layer.weight.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_outputs_keep_the_mean_that_clipping_in_front_moves(kind: str) -> None:
    layer = LAYERS[kind]()
    flat = isinstance(layer, QuantizedLinear)
    values = random_rows(32, layer.in_features) if flat else random_rows(32, layer.in_channels, 6, 6)
    exact = layer(values)
    quantizer = ActivationQuantizer(bits=4, signed=True)
    quantizer.start_from(values)
    quantizer.log_scale -= 0.5  # cuts off what is beyond six tenths of the range that it would have
    layer.weight_quantizer = WeightQuantizer(layer.weight.shape[0], 4)
    layer.weight_quantizer.start_from(layer.weight.flatten(1))
    network = _graph(quantizer, layer)
    places = (0,) if flat else (0, 2, 3)
    assert not torch.allclose(network(values).mean(places), exact.mean(places), atol=1e-3)
    compensate_rounding(network, values)
    assert all(module.enabled for module in (quantizer, layer.weight_quantizer))
    assert torch.allclose(network(values).mean(places), exact.mean(places), atol=1e-5)


@torch.no_grad()
def test_a_layer_that_is_called_twice_is_corrected_for_its_first_call() -> None:
    layer, values = QuantizedLinear(20, 20), random_rows(64, 20)
    network = alone(layer, 3)
    (call,) = [node for node in network.graph.nodes if node.op == "call_module"]
    with network.graph.inserting_after(call):
        again = network.graph.call_module(str(call.target), (call,))
    call.replace_all_uses_with(again, delete_user_cb=lambda user: user is not again)
    network.recompile()
    wanted = nn.functional.linear(values, layer.weight, layer.bias).mean(0)
    assert compensate_rounding(network, values).changed == 1
    assert torch.allclose(layer(values).mean(0), wanted, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_quantized_layer_of_a_network_lies_on_its_grid(name: str) -> None:
    """Also where weights have 7 bits, as in most students."""
    network = make_student(randomize(NETWORKS[name]())).network
    layers = [layer for layer in network.modules() if isinstance(layer, QuantizedConv2d | QuantizedLinear)]
    layers = [layer for layer in layers if layer.weight_quantizer is not None]
    assert compensate_rounding(network, IMAGES).changed == len(layers) > 0
    for layer in layers:
        assert layer.weight_quantizer is not None
        assert torch.allclose(layer.weight_quantizer(layer.weight), layer.weight, atol=1e-6)


def test_inputs_that_are_always_zero() -> None:
    layer = QuantizedLinear(8, 4)
    network = alone(layer, 4)
    compensate_rounding(network, torch.zeros(16, 8))
    assert bool(layer.weight.isfinite().all())


def test_inputs_that_are_not_finite_round_to_nearest() -> None:
    """A layer that overflows is the teacher check's to refuse, not a factorization's to fail at."""
    layer = QuantizedConv2d(4, 4, 3, 1, 1, groups=2)
    network = alone(layer, 7)
    assert layer.weight_quantizer is not None
    nearest = layer.weight_quantizer(layer.weight).detach()
    values = random_rows(8, 4, 6, 6)
    values[0, 0] = torch.inf
    compensate_rounding(network, values)
    assert torch.allclose(layer.weight[:2], nearest[:2], atol=1e-6)
    assert bool(layer.weight.isfinite().all())


@torch.no_grad()
def test_moments_in_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 8)
    inputs = random_rows(50, 2, 20)
    wanted = torch.einsum("ngi,ngj->gij", inputs, inputs).double() / 50
    assert torch.allclose(module._moments(inputs).triu(), wanted.triu(), atol=1e-6)
