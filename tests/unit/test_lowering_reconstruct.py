"""Reconstruction: the least-squares update of a layer never makes its fit worse, and finds an exact one."""

from __future__ import annotations

import pytest
import torch
from networks import random_rows
from torch import Tensor, nn

from efq.toolchain.graph.operations import ChannelAffine, QuantizedConv2d, QuantizedLinear
from efq.toolchain.lowering.reconstruct import LARGEST_SYSTEM, reconstruct

LAYERS = {
    "dense 3x3": lambda: QuantizedConv2d(6, 5, 3, 1, 1),
    "strided": lambda: QuantizedConv2d(6, 5, 3, 2, 1),
    "dilated": lambda: QuantizedConv2d(6, 5, 3, 1, 2, 2),
    "pointwise": lambda: QuantizedConv2d(6, 5, 1),
    "strided pointwise": lambda: QuantizedConv2d(6, 5, 1, 2),
    "depthwise": lambda: QuantizedConv2d(6, 6, 3, 2, 1, 1, 6),
    "many depthwise": lambda: QuantizedConv2d(70, 70, 3, 1, 1, 1, 70),
}


@torch.no_grad()
def initialized(layer: nn.Module, seed: int) -> nn.Module:
    for parameter in layer.parameters():
        parameter.copy_(random_rows(*parameter.shape, seed=seed) * 0.5)
    return layer


def error(layer: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    with torch.no_grad():
        return float((layer(inputs) - targets).square().mean())


@pytest.mark.parametrize("kind", LAYERS)
def test_never_worse_and_better_behind_a_distortion(kind: str) -> None:
    layer = initialized(LAYERS[kind](), 0)
    channels = layer.in_channels
    clean = random_rows(8, channels, 12, 12, seed=1)  # type: ignore[call-overload]
    with torch.no_grad():
        targets = layer(clean)
    distorted = torch.relu(clean + 0.5) * 1.2
    before = error(layer, distorted, targets)
    assert reconstruct(layer, distorted, targets)  # type: ignore[arg-type]
    after = error(layer, distorted, targets)
    assert after < 0.9 * before
    assert reconstruct(layer, distorted, targets)  # type: ignore[arg-type]
    assert error(layer, distorted, targets) <= after * 1.001


@pytest.mark.parametrize("kind", LAYERS)
def test_finds_the_weights_that_made_the_targets(kind: str) -> None:
    wanted, layer = initialized(LAYERS[kind](), 0), initialized(LAYERS[kind](), 7)
    inputs = random_rows(8, wanted.in_channels, 12, 12, seed=1)  # type: ignore[call-overload]
    with torch.no_grad():
        targets = wanted(inputs)
    before = error(layer, inputs, targets)
    reconstruct(layer, inputs, targets)  # type: ignore[arg-type]
    assert error(layer, inputs, targets) < 1e-4 * before


@pytest.mark.parametrize("kind", LAYERS)
def test_an_exact_layer_stays(kind: str) -> None:
    layer = initialized(LAYERS[kind](), 0)
    inputs = random_rows(8, layer.in_channels, 12, 12, seed=1)  # type: ignore[call-overload]
    with torch.no_grad():
        targets = layer(inputs)
    reconstruct(layer, inputs, targets)  # type: ignore[arg-type]
    assert error(layer, inputs, targets) < 1e-10


def test_linear_layer() -> None:
    wanted, layer = initialized(QuantizedLinear(10, 4), 0), initialized(QuantizedLinear(10, 4), 7)
    inputs = random_rows(50, 10)
    with torch.no_grad():
        targets = wanted(inputs)
    assert reconstruct(layer, inputs, targets)  # type: ignore[arg-type]
    assert error(layer, inputs, targets) < 1e-5


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (QuantizedLinear(10, 4), (19, 10)),
        (QuantizedLinear(LARGEST_SYSTEM + 1, 1), (3, LARGEST_SYSTEM + 1)),
        (QuantizedConv2d(LARGEST_SYSTEM // 9 + 1, 1, 3), (1, LARGEST_SYSTEM // 9 + 1, 4, 4)),
        (QuantizedConv2d(4, 4, 3, groups=2), (20, 4, 5, 5)),
        (QuantizedConv2d(4, 4, 7, groups=4), (97, 4, 7, 7)),
        (QuantizedConv2d(40, 4, 1), (79, 40, 1, 1)),
        (ChannelAffine(4), (2, 4, 5, 5)),
    ],
    ids=[
        "too few rows",
        "wide linear",
        "wide convolution",
        "grouped",
        "few faces, depthwise",
        "few faces, dense",
        "affine",
    ],
)
def test_left_as_it_is(layer: nn.Module, shape: tuple[int, ...]) -> None:
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    inputs = random_rows(*shape)
    with torch.no_grad():
        targets = layer(inputs) + 1
    assert not reconstruct(layer, inputs, targets)  # type: ignore[arg-type]
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
