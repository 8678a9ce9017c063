"""What a network's code may call things: each way of writing comes to operations of the same function."""

from __future__ import annotations

import dataclasses
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from networks import MEAN, STD, normalized, random_images, randomize, relative_difference
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils import prune

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.description import build_graph, describe_graph
from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import (
    Add,
    ChannelAffine,
    ClippedRelu,
    Concat,
    Crop,
    GlobalAveragePool,
    LeakyRelu,
    Maximum,
    Multiply,
    Pad,
    QuantizedConv2d,
    QuantizedLinear,
    SelectChannels,
)
from efq.toolchain.graph.traversal import calls
from efq.toolchain.lowering.check_graph import check_graph
from efq.toolchain.lowering.fold_selects import fold_selects

IMAGES = random_images(3)
EXACT = 1e-4

Middle = Callable[["Around", Tensor], Tensor]


class Around(nn.Module):
    """A convolution to (N, 8, 14, 14), `middle` of whatever layers, a linear layer on all that comes of it."""

    def __init__(self, middle: Middle, **layers: Any) -> None:
        super().__init__()
        self.stem, self.middle, self.fc = nn.Conv2d(3, 8, 3, 2, 1), middle, nn.LazyLinear(16)
        for name, value in layers.items():
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(self.middle(self, self.stem(x)).flatten(1))
        return result


def around(middle: Middle, **layers: Any) -> Around:
    network = Around(middle, **layers).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network(torch.rand(2, 3, 28, 28))
    return randomize(network, slopes=(0.2, -0.4, 0.7))


def traced(network: nn.Module, *, exact: float = EXACT) -> fx.GraphModule:
    """The graph of `network`, which has its function and can be described and built again."""
    graph = trace(network, MEAN, STD, height=28, width=28)
    assert relative_difference(graph, normalized(network), IMAGES) < exact
    rebuilt = build_graph(describe_graph(graph))
    rebuilt.load_state_dict(graph.state_dict())
    assert relative_difference(rebuilt.eval(), normalized(network), IMAGES) < exact
    return graph


def kinds(graph: fx.GraphModule) -> list[type[nn.Module]]:
    """What comes behind the stem and before the last linear layer."""
    found = [type(module) for _, module in calls(graph, nn.Module)]
    return found[3:-1]


BEHIND: dict[str, tuple[Middle, list[type[nn.Module]]]] = {
    "max_pool": (lambda s, x: functional.max_pool2d(x, 3, 2, 1), [nn.MaxPool2d]),
    "max_pool ceil": (lambda s, x: functional.max_pool2d(x, 3, 2, ceil_mode=True), [nn.MaxPool2d]),
    "avg_pool": (lambda s, x: functional.avg_pool2d(x, 2), [nn.AvgPool2d]),
    "avg_pool divisor": (lambda s, x: functional.avg_pool2d(x, 2, divisor_override=3), [nn.AvgPool2d, ChannelAffine]),
    "adaptive 1": (lambda s, x: functional.adaptive_avg_pool2d(x, 1), [GlobalAveragePool]),
    "adaptive 7": (lambda s, x: functional.adaptive_avg_pool2d(x, (7, 7)), [nn.AvgPool2d]),
    "adaptive 14": (lambda s, x: functional.adaptive_avg_pool2d(x, (14, None)), []),
    "adaptive 3": (
        lambda s, x: (
            functional.adaptive_avg_pool2d(x, (4, 1))[:, :, :0:1] if 0 else functional.adaptive_avg_pool2d(x, 13)
        ),
        [nn.AvgPool2d],
    ),
    "adaptive uneven": (lambda s, x: functional.adaptive_avg_pool2d(x, (5, 17)), []),
    "adaptive max": (lambda s, x: functional.adaptive_max_pool2d(x, 2), [nn.MaxPool2d]),
    "mean": (lambda s, x: x.mean([2, 3]), [GlobalAveragePool]),
    "mean keepdim": (lambda s, x: x.mean((-2, -1), keepdim=True), [GlobalAveragePool]),
    "mean mean": (lambda s, x: x.mean(3).mean(2), [nn.AvgPool2d, GlobalAveragePool]),
    "mean of rows": (lambda s, x: x.view(x.size(0), 8, -1).mean(dim=2), [GlobalAveragePool]),
    "sum": (lambda s, x: x.sum((2, 3)), [GlobalAveragePool, ChannelAffine]),
    "amax": (lambda s, x: x.amax((2, 3)), [nn.MaxPool2d]),
    "max of rows": (lambda s, x: x.flatten(2).max(-1)[0], [nn.MaxPool2d]),
    "squeeze": (lambda s, x: x.mean((2, 3), True).squeeze(-1).squeeze(-1), [GlobalAveragePool]),
    "unsqueeze": (lambda s, x: s.conv(x.mean((2, 3)).unsqueeze(2)[..., None]), [GlobalAveragePool, QuantizedConv2d]),
    "view": (lambda s, x: x.mean((2, 3)).view(-1, 8), [GlobalAveragePool]),
    "view both": (lambda s, x: x.view(x.size(0), -1).view(-1, 8, 14, 14), []),
    "reshape": (lambda s, x: x.reshape(x.shape[0], 8 * 14 * 14), []),
    "flatten": (lambda s, x: torch.flatten(x, start_dim=2).flatten(1), []),
    "chunk": (lambda s, x: torch.cat(x.chunk(2, 1)[::-1], 1), [SelectChannels]),
    "split": (lambda s, x: s.some(x.split([3, 5], 1)[1][:, :4]), [SelectChannels, QuantizedConv2d]),
    "channel slice": (lambda s, x: s.some(x[:, 2:6]), [SelectChannels, QuantizedConv2d]),
    "unbind": (lambda s, x: torch.stack([x.unbind(1)[i] for i in (3, 1)], 1), [SelectChannels]),
    "ghost": (lambda s, x: torch.cat([x, s.conv(x)], 1)[:, :9], [QuantizedConv2d, Concat, SelectChannels]),
    "shuffle": (
        lambda s, x: s.grouped(x.view(len(x), 2, 4, 14, 14).transpose(1, 2).contiguous().view(len(x), -1, 14, 14)),
        [SelectChannels, QuantizedConv2d],
    ),
    "shuffle function": (lambda s, x: s.grouped(functional.channel_shuffle(x, 4)), [SelectChannels, QuantizedConv2d]),
    "shuffle into a convolution": (
        lambda s, x: s.conv(x.unflatten(1, (4, 2)).transpose(1, 2).flatten(1, 2)),
        [SelectChannels, QuantizedConv2d],
    ),
    "images and channels together": (
        lambda s, x: (lambda y: s.some(y[0]) + s.some(y[1]))(
            x.reshape(len(x) * 4, 2, 196).permute(1, 0, 2).reshape(2, -1, 4, 14, 14)
        ),
        [SelectChannels, QuantizedConv2d, SelectChannels, QuantizedConv2d, Add],
    ),
    "strided slice": (lambda s, x: x[:, :, ::2, 1::2], [Crop, nn.MaxPool2d]),
    "crop": (lambda s, x: x[..., 1:-1, 2:], [Crop]),
    "narrow": (lambda s, x: x.narrow(2, 0, 5), [Crop]),
    "focus": (
        lambda s, x: torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2]], 1),
        [nn.MaxPool2d, Crop, nn.MaxPool2d, Concat],
    ),
    "stack": (lambda s, x: torch.stack([x, s.conv(x)], 2).flatten(1, 2), [QuantizedConv2d, Concat, SelectChannels]),
    "cat twice": (lambda s, x: torch.cat([x, x[:, :2]], 1), [SelectChannels]),
    "pad": (lambda s, x: s.valid(functional.pad(x, (1, 1, 1, 1))), [Pad, QuantizedConv2d]),
    "ZeroPad2d": (lambda s, x: s.valid(nn.ZeroPad2d(2)(x)), [Pad, QuantizedConv2d]),
    "pad below": (lambda s, x: s.valid(functional.pad(x, (0, 1, 0, 1))), [Pad, QuantizedConv2d]),
    "pad negative": (lambda s, x: functional.pad(x, (-1, -2)), [Crop]),
    "same": (lambda s, x: functional.conv2d(x, s.valid.weight, padding="same"), [QuantizedConv2d]),
    "same even": (
        lambda s, x: functional.conv2d(x, s.valid.weight[:, :, :2, :2], padding="same"),
        [Pad, QuantizedConv2d],
    ),
    "x + x": (lambda s, x: x + x, [ChannelAffine]),
    "plus": (lambda s, x: 1 - x * 2, [ChannelAffine]),
    "alpha": (lambda s, x: torch.sub(x, s.conv(x), alpha=0.5), [QuantizedConv2d, ChannelAffine, Add]),
    "scaled residual": (lambda s, x: s.conv(x) * 0.17 + x, [QuantizedConv2d, ChannelAffine, Add]),
    "divided": (lambda s, x: x / 6, [ChannelAffine]),
    "minus": (lambda s, x: x - s.conv(x), [QuantizedConv2d, ChannelAffine, Add]),
    "layer scale": (lambda s, x: x + s.gamma * s.conv(x), [QuantizedConv2d, ChannelAffine, Add]),
    "layer scale last": (
        lambda s, x: (s.gamma.flatten() * x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        [ChannelAffine],
    ),
    "buffer": (lambda s, x: (x - s.gamma) / (s.gamma + 0.5), [ChannelAffine]),
    "linear on channels last": (
        lambda s, x: s.square(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        [QuantizedConv2d],
    ),
    "multiply maps": (lambda s, x: x * s.conv(x).sigmoid(), [QuantizedConv2d, nn.Sigmoid, Multiply]),
    "spatial gate": (
        lambda s, x: x * s.one(x).sigmoid(),
        [QuantizedConv2d, nn.Sigmoid, SelectChannels, Multiply],
    ),
    "add pooled": (lambda s, x: x + x.mean((2, 3), keepdim=True), [GlobalAveragePool, Add]),
    "max feature map": (lambda s, x: torch.maximum(*x.chunk(2, 1)), [SelectChannels, SelectChannels, Maximum]),
    "dilated": (lambda s, x: functional.conv2d(x, s.valid.weight, None, 1, 2, 2), [QuantizedConv2d]),
    "depthwise multiplier": (lambda s, x: functional.conv2d(x, s.multiplied, groups=8), [QuantizedConv2d]),
    "weight standardization": (
        lambda s, x: functional.conv2d(
            x, (s.conv.weight - s.conv.weight.mean((1, 2, 3), keepdim=True)) * s.gamma[..., None]
        ),
        [QuantizedConv2d],
    ),
    "dropout": (lambda s, x: functional.dropout2d(functional.dropout(x, 0.5, s.training), training=False), []),
    "dtype": (lambda s, x: x.double().float().to(x.dtype), []),
    "no_grad": (lambda s, x: no_grad(lambda: x * 2), [ChannelAffine]),
    "autocast": (lambda s, x: autocast(lambda: s.conv(x)), [QuantizedConv2d]),
    "asserts": (lambda s, x: asserted(x), []),
    "checkpoint": (lambda s, x: torch.utils.checkpoint.checkpoint(s.conv, x, use_reentrant=False), [QuantizedConv2d]),
    "SyncBatchNorm": (lambda s, x: s.sync(x), [ChannelAffine]),
    "channels last memory": (lambda s, x: x.contiguous(memory_format=torch.channels_last), []),
    "expanded": (
        lambda s, x: x * x.mean((2, 3), True).expand_as(x).sigmoid(),
        [GlobalAveragePool, nn.Sigmoid, Multiply],
    ),
    "repeat": (lambda s, x: x[:, :2].repeat(1, 3, 1, 1), [SelectChannels]),
}


def no_grad(function: Callable[[], Tensor]) -> Tensor:
    with torch.no_grad():
        return function()


def autocast(function: Callable[[], Tensor]) -> Tensor:
    with torch.autocast("cuda", enabled=False):
        return function()


def asserted(x: Tensor) -> Tensor:
    assert x.shape[1] == 8
    torch._assert(x.dim() == 4, "maps")
    return x


def layers() -> dict[str, Any]:
    return {
        "conv": nn.Conv2d(8, 8, 1),
        "some": nn.Conv2d(4, 6, 1),
        "one": nn.Conv2d(8, 1, 3, padding=1),
        "valid": nn.Conv2d(8, 6, 3),
        "grouped": nn.Conv2d(8, 8, 3, groups=2),
        "square": nn.Linear(8, 8),
        "gamma": nn.Parameter(torch.rand(8, 1, 1)),
        "multiplied": torch.randn(16, 1, 3, 3),
        "sync": nn.SyncBatchNorm(8),
    }


@pytest.mark.parametrize("name", BEHIND)
def test_ways_of_writing(name: str) -> None:
    middle, wanted = BEHIND[name]
    graph = traced(around(middle, **layers()))
    found = kinds(graph)
    assert [kind for kind in found if kind.__name__ != "Flatten"] == wanted


ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], list[type[nn.Module]]]] = {
    "relu": (torch.relu, [nn.ReLU]),
    "clamp_min": (lambda x: x.clamp(min=0), [nn.ReLU]),
    "clamp_min(0)": (lambda x: torch.clamp_min(x, 0.0), [nn.ReLU]),
    "maximum": (lambda x: torch.maximum(x, torch.zeros(1)), [nn.ReLU]),
    "max zeros": (lambda x: torch.max(x, torch.zeros_like(x)), [nn.ReLU]),
    "threshold": (lambda x: functional.threshold(x, 0.0, 0.0), [nn.ReLU]),
    "masked": (lambda x: x * (x > 0), [nn.ReLU]),
    "relu6": (functional.relu6, [nn.ReLU6]),
    "clamp 6": (lambda x: x.clamp(0, 6), [nn.ReLU6]),
    "hardtanh 6": (lambda x: functional.hardtanh(x, 0.0, 6.0), [nn.ReLU6]),
    "relu min": (lambda x: torch.clamp(torch.relu(x), max=6.0), [nn.ReLU6]),
    "clamp 2": (lambda x: x.clamp(0, 2), [ClippedRelu]),
    "hardtanh": (functional.hardtanh, [ChannelAffine, ClippedRelu, ChannelAffine]),
    "leaky": (lambda x: functional.leaky_relu(x, 0.3), [LeakyRelu]),
    "leaky where": (lambda x: torch.where(x > 0, x, 0.3 * x), [LeakyRelu]),
    "leaky max": (lambda x: torch.max(x, 0.1 * x), [LeakyRelu]),
    "abs": (torch.abs, [LeakyRelu]),
    "rrelu": (functional.rrelu, [LeakyRelu]),
    "sigmoid": (torch.sigmoid, [nn.Sigmoid]),
    "sigmoid exp": (lambda x: 1 / (1 + torch.exp(-x)), [nn.Sigmoid]),
    "tanh": (torch.tanh, [nn.Tanh]),
    "silu": (functional.silu, [nn.SiLU]),
    "swish": (lambda x: x * torch.sigmoid(x), [nn.SiLU]),
    "swish in place": (lambda x: x.mul(x.sigmoid()), [nn.SiLU]),
    "hardsigmoid": (functional.hardsigmoid, [nn.Hardsigmoid]),
    "hardsigmoid relu6": (lambda x: functional.relu6(x + 3) / 6, [nn.Hardsigmoid]),
    "hardsigmoid clamp": (lambda x: (x / 6 + 0.5).clamp(0, 1), [nn.Hardsigmoid]),
    "hardswish": (functional.hardswish, [nn.Hardswish]),
    "hardswish relu6": (lambda x: x * functional.relu6(x + 3) / 6, [nn.Hardswish]),
    "hardswish first": (lambda x: x * (functional.relu6(x + 3.0, inplace=True) / 6.0), [nn.Hardswish]),
    "hardswish inverse": (lambda x: x * functional.hardtanh(x + 3, 0.0, 6.0) * (1 / 6), [nn.Hardswish]),
    "gelu": (functional.gelu, [nn.GELU]),
    "gelu tanh": (lambda x: functional.gelu(x, approximate="tanh"), [nn.GELU]),
    "gelu erf": (lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), [nn.GELU]),
    "gelu written": (
        lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3)))),
        [nn.GELU],
    ),
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), [ChannelAffine, nn.SiLU, ChannelAffine]),
    "prelu": (
        lambda x: torch.relu(x) - torch.tensor([0.1] * 4 + [-0.2] * 4)[:, None, None] * torch.relu(-x),
        [nn.PReLU],
    ),
    "prelu where": (lambda x: torch.where(x >= 0, x, x * torch.linspace(-0.5, 0.5, 8).view(8, 1, 1)), [nn.PReLU]),
    "prelu abs": (lambda x: torch.relu(x) + 0.25 * (x - abs(x)) * 0.5, [LeakyRelu]),
    "prelu function": (lambda x: functional.prelu(x, torch.linspace(-0.5, 0.5, 8)), [nn.PReLU]),
    "elsewhere": (lambda x: torch.relu(x - 1) + 1, [ChannelAffine, nn.ReLU, ChannelAffine]),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    """By what they compute, whatever they are written with."""
    function, wanted = ACTIVATIONS[name]
    assert [kind for kind in kinds(traced(around(lambda s, x: function(x)))) if kind.__name__ != "Flatten"] == wanted


@pytest.mark.parametrize("name", ["hardswish relu6", "swish", "leaky where", "gelu written", "clamp 2"])
def test_activations_of_features(name: str) -> None:
    function, wanted = ACTIVATIONS[name]
    found = kinds(traced(around(lambda s, x: function(x.mean((2, 3)) * 9))))
    assert [kind for kind in found if kind.__name__ != "Flatten"][2:] == wanted


@pytest.mark.parametrize(
    "function",
    [
        functional.elu,
        functional.softplus,
        functional.mish,
        lambda x: x * x,
        lambda x: torch.sin(x),
        lambda x: functional.relu(x) ** 2,
        lambda x: x * torch.tanh(functional.softplus(x)),
    ],
)
def test_activations_that_none_has_in_integers(function: Any) -> None:
    with pytest.raises(LoweringError):
        trace(around(lambda s, x: function(x)), MEAN, STD, height=28, width=28)


class SqueezeExcite(nn.Module):
    """A gate for each channel, written in one of the usual ways."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.stem, self.bn = nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm1d(4)
        kind = nn.Conv2d if "conv" in form else nn.Linear
        arguments: tuple[int, ...] = (1,) if "conv" in form else ()
        self.down, self.up = kind(16, 4, *arguments), kind(4, 16, *arguments)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(16 * 14 * 14, 8)
        self.band = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        b, c, _, _ = x.size()
        if self.form == "linear view":
            gate = torch.sigmoid(self.up(torch.relu(self.down(self.pool(x).view(b, c))))).view(b, c, 1, 1)
            x = x * gate.expand_as(x)
        elif self.form == "linear None":
            x = self.up(functional.silu(self.down(x.mean((2, 3))))).sigmoid()[:, :, None, None] * x
        elif self.form == "linear BatchNorm":
            gate = functional.hardsigmoid(self.up(torch.relu(self.bn(self.down(x.mean((2, 3)))))))
            x = x * gate.unsqueeze(-1).unsqueeze(-1)
        elif self.form == "conv":
            x = x * functional.hardsigmoid(self.up(torch.relu(self.down(self.pool(x)))))
        elif self.form == "conv residual":
            x = x + x * torch.sigmoid(self.up(functional.hardswish(self.down(x.mean((2, 3), keepdim=True)))))
        elif self.form == "band":
            y = self.band(self.pool(x).squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
            x = x * y.sigmoid().expand_as(x)
        result: Tensor = self.fc(x.flatten(1))
        return result


@pytest.mark.parametrize("form", ["linear view", "linear None", "linear BatchNorm", "conv", "conv residual", "band"])
def test_squeeze_excite(form: str) -> None:
    """A linear layer between maps is a convolution of 1x1."""
    graph = traced(randomize(SqueezeExcite(form)))
    found = [type(module) for _, module in calls(graph, nn.Module)]
    assert found.count(QuantizedLinear) == 1
    assert found.count(QuantizedConv2d) == (2 if form == "band" else 3)
    assert found.count(Multiply) == 1


@dataclasses.dataclass
class Result:
    features: Tensor
    quality: Tensor


def rows(x: Tensor) -> Tensor:
    return x.norm(2, 1, True)


HEADS: dict[str, Callable[[Tensor], Any]] = {
    "normalize": functional.normalize,
    "norm": lambda x: x / x.norm(dim=1, keepdim=True),
    "eps": lambda x: x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + 1e-6),
    "clamped": lambda x: x / x.norm(p=2, dim=1, keepdim=True).clamp(min=1e-12).expand_as(x),
    "squares": lambda x: x * torch.rsqrt((x * x).sum(1, keepdim=True) + 1e-10),
    "pow": lambda x: torch.div(x, torch.sqrt(torch.sum(torch.pow(x, 2), 1).view(-1, 1))),
    "scaled": lambda x: functional.normalize(x) * 64.0,
    "twice": lambda x: functional.normalize(functional.normalize(x)),
    "AdaFace": lambda x: (torch.div(x, rows(x)), rows(x)),
    "second": lambda x: (x, x.mean(1)),
    "logits first": lambda x: {"quality": x[:, :1], "embedding": functional.normalize(x)},
    "dataclass": lambda x: Result(features=x, quality=rows(x)),
    "list": lambda x: [x, [x, None]],
}


@pytest.mark.parametrize("name", HEADS)
def test_what_is_behind_the_embedding_falls_away(name: str) -> None:
    """Norms and second outputs; the direction stays."""

    class Headed(Around):
        def forward(self, x: Tensor) -> Any:
            return HEADS[name](super().forward(x))

    network = randomize(Headed(lambda s, x: x, fc=nn.Linear(8 * 14 * 14, 16)))
    graph = trace(network, MEAN, STD, height=28, width=28)
    check_graph(graph, network, IMAGES, mean=MEAN, std=STD)
    assert type(list(calls(graph, nn.Module))[-1][1]) in (QuantizedLinear, ChannelAffine)
    network.fc.weight.data[0].neg_()
    with pytest.raises(LoweringError):
        check_graph(graph, network, IMAGES, mean=MEAN, std=STD)


def test_the_second_output_is_said(caplog: pytest.LogCaptureFixture) -> None:
    class Two(Around):
        def forward(self, x: Tensor) -> Any:
            return x.mean((1, 2, 3)), super().forward(x)

    with caplog.at_level(logging.DEBUG, logger="efq"):
        trace(randomize(Two(lambda s, x: x, fc=nn.Linear(8 * 14 * 14, 4))), MEAN, STD, height=28, width=28)
    assert "output 2 of 2" in caplog.text


class Image(nn.Module):
    """What is done to the image before the first convolution."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.conv, self.bn = function, nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(3)
        self.fc = nn.LazyLinear(8)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(self.conv(self.function(self.bn(x))).flatten(1))
        return result


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.flip(1),
        lambda x: x[:, [2, 1, 0]],
        lambda x: x[:, torch.tensor([2, 1, 0]), :, :],
        lambda x: torch.cat([x[:, 2:], x[:, 1:2], x[:, :1]], 1),
        lambda x: torch.stack([x[:, 2], x[:, 1], x[:, 0]], dim=1),
        lambda x: torch.flip(x, dims=(1,)) * 2 - 1,
        lambda x: ((x + 1) * 127.5 - 127.5) / 128,
        lambda x: (x.permute(0, 2, 3, 1)[..., [2, 1, 0]] - torch.tensor([0.1, 0.2, 0.3])).permute(0, 3, 1, 2),
    ],
)
def test_what_is_done_to_the_image_is_in_the_first_layers(function: Any) -> None:
    """Colors in another order are the first weights' order, a normalization is the image's."""
    network = Image(function).eval()
    network(torch.rand(1, 3, 28, 28))
    graph = traced(randomize(network))
    fold_selects(graph, IMAGES[:1])
    found = [type(module) for _, module in calls(graph, nn.Module)]
    assert SelectChannels not in found
    assert found.count(ChannelAffine) == 2
    assert relative_difference(graph, normalized(network), IMAGES) < EXACT


def test_a_head_that_flattens_channels_last() -> None:
    graph = traced(around(lambda s, x: x.permute(0, 2, 3, 1)))
    fold_selects(graph, IMAGES[:1])
    assert [type(module) for _, module in calls(graph, nn.Module)].count(SelectChannels) == 0


@pytest.mark.parametrize(
    "product",
    [
        lambda x, w: x @ w,
        lambda x, w: torch.mm(x, w),
        lambda x, w: torch.addmm(w[0], x, w),
        lambda x, w: torch.einsum("nc,cd->nd", x, w),
        lambda x, w: torch.matmul(x.unsqueeze(1), w).squeeze(1),
        lambda x, w: functional.linear(functional.normalize(w) @ w, w)[:1] * 0 + x @ w,
        lambda x, w: functional.conv1d(x.unsqueeze(1), w[:1, :3].unsqueeze(0)).squeeze(1),
    ],
)
def test_products_with_a_matrix(product: Any) -> None:
    traced(around(lambda s, x: product(x.mean((2, 3)), s.matrix), matrix=torch.randn(8, 8)))


def reparametrized(kind: str) -> nn.Module:
    layer = nn.Conv2d(8, 8, 1)
    if kind == "weight_norm":
        return nn.utils.parametrizations.weight_norm(layer)
    if kind == "spectral_norm":
        return nn.utils.parametrizations.spectral_norm(layer)
    if kind == "old weight_norm":
        return nn.utils.weight_norm(layer)
    if kind == "old spectral_norm":
        return nn.utils.spectral_norm(layer)
    prune.random_unstructured(layer, "weight", 0.5)
    return layer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "old weight_norm", "old spectral_norm", "pruned"])
def test_weights_that_are_computed(kind: str) -> None:
    graph = traced(around(lambda s, x: s.layer(x), layer=reparametrized(kind)))
    assert kinds(graph)[:1] == [QuantizedConv2d]


@pytest.mark.parametrize("where", ["fc", "stem", ""])
def test_forward_hooks_are_part_of_the_function(where: str) -> None:
    network = around(lambda s, x: x)
    network.get_submodule(where).register_forward_hook(lambda module, inputs, output: output * 2 + 1)
    traced(network)


class OwnWay(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_layers_with_a_forward_of_their_own() -> None:
    convolution = nn.Conv2d(8, 8, 1)
    convolution.forward = lambda x: x + 1  # type: ignore[method-assign,assignment]
    assert kinds(traced(around(lambda s, x: s.own(x), own=OwnWay())))[:2] == [nn.ReLU, ChannelAffine]
    assert kinds(traced(around(lambda s, x: s.own(x), own=convolution)))[:1] == [ChannelAffine]


@pytest.mark.parametrize("size", [(28, 28), (29, 35), (56, 24)])
def test_other_sizes(size: tuple[int, int]) -> None:
    network = Around(lambda s, x: functional.adaptive_avg_pool2d(functional.max_pool2d(x, 3, 2, 1), 1))
    network(torch.rand(1, 3, *size))
    randomize(network)
    graph = trace(network, MEAN, STD, height=size[0], width=size[1])
    images = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    assert relative_difference(graph, normalized(network), images) < EXACT


def test_windows_that_torch_drops_are_no_windows() -> None:
    """The last one of a row would begin in the padding: ONNX counts it with ceil_mode."""
    for pool in (functional.max_pool2d, functional.avg_pool2d):
        graph = traced(around(lambda s, x, pool=pool: pool(x, 3, 3, 1, ceil_mode=True)))  # type: ignore[misc]
        (found,) = [module for _, module in calls(graph, nn.MaxPool2d | nn.AvgPool2d)]
        assert not found.ceil_mode


def test_what_mixes_images_is_refused() -> None:
    mixing: Sequence[Middle] = [
        lambda s, x: x.transpose(0, 1).reshape(x.shape[0], -1)[:, :1568],
        lambda s, x: x - x.mean(0, keepdim=True),
        lambda s, x: x.roll(1, 0),
        lambda s, x: x.flip(0),
        lambda s, x: torch.cat([x, x], 0)[: len(x)] + x[:1],
        lambda s, x: torch.stack(list(x)),
    ]
    for middle in mixing:
        with pytest.raises(LoweringError, match=r"images|image"):
            trace(around(middle), MEAN, STD, height=28, width=28)
