"""Networks that no graph of operations can stand for: refused by the layer and the line, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from messages import names, raises_naming
from networks import MEAN, STD, conv_block, make_student, normalized, random_images, randomize, relative_difference
from torch import Tensor, nn
from torch.nn import functional

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.from_torch import trace
from efq.toolchain.quantizers import set_enabled

IMAGES = random_images(8)
SLOPES = (0.2,)

Change = Callable[["Network", Tensor], Any]


class Network(nn.Module):
    """Convolutions, `middle` on (N, 8, 7, 7) maps, a linear layer, `head` on (N, 16) features."""

    def __init__(self, *, middle: Change | None = None, head: Change | None = None, **layers: Any) -> None:
        super().__init__()
        self.stem, self.fc = conv_block(3, 8, 3, 4), nn.Linear(8 * 7 * 7, 16)
        self.middle, self.head = middle or (lambda network, x: x), head or (lambda network, x: x)
        for name, value in layers.items():
            self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            self.register_buffer(name, value)
        else:
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Any:
        return self.head(self, self.fc(self.middle(self, self.stem(x)).flatten(1)))


def refused(network: nn.Module, *facts: object) -> str:
    with raises_naming(LoweringError, *facts) as caught:
        make_student(randomize(network, slopes=SLOPES))
    assert " at 0x" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def here(change: Change) -> str:
    return f"{__file__}:{change.__code__.co_firstlineno}"


@pytest.mark.parametrize(
    ("middle", "fact"),
    [
        (lambda s, x: x + s.map, "rows"),
        (lambda s, x: s.map * x, "rows"),
        (lambda s, x: torch.cat([x, s.map.expand(len(x), 8, 7, 7)], 1)[:, :8], "cat()"),
        (lambda s, x: functional.conv2d(x, s.kernel * x.mean()), "mean()"),
        (lambda s, x: functional.prelu(x, s.slopes * x.mean((0, 2, 3))), "images"),
    ],
)
def test_a_tensor_of_the_network_itself_that_has_no_form(middle: Change, fact: str) -> None:
    own = {"map": torch.rand(8, 7, 7), "kernel": torch.ones(8, 8, 1, 1), "slopes": torch.ones(8)}
    refused(Network(middle=middle, **own), fact, here(middle))


def test_a_window_that_only_torch_drops() -> None:
    """Of the rows the last window would begin in the padding, the last one of the columns is cut off by ceil_mode."""
    network = Network(middle=lambda s, x: s.pool(x), pool=nn.MaxPool2d((2, 4), 2, 1, ceil_mode=True))
    network.fc = nn.Linear(8 * 4 * 4, 16)
    refused(network, "pool", "MaxPool2d")


@pytest.mark.parametrize(
    ("head", "fact"),
    [
        (lambda s, x: None, "NoneType"),
        (lambda s, x: torch.zeros(1, 16), "tensor"),
        (lambda s, x: torch.zeros(len(x), 16), "image"),
        (lambda s, x: x.shape, "tensor"),
        (lambda s, x: x.reshape(-1), "tensor"),
    ],
)
def test_what_is_no_embedding(head: Change, fact: str) -> None:
    refused(Network(head=head), fact)


@pytest.mark.parametrize(
    "middle",
    [
        lambda s, x: x if x.sum() > 0 else -x,
        lambda s, x: x + float(x.max()),
        lambda s, x: torch.from_numpy(x.detach().numpy()),
        lambda s, x: 1 / 0,
    ],
)
def test_code_that_asks_for_numbers(middle: Change) -> None:
    message = refused(Network(middle=middle), "Network", here(middle))
    assert "Proxy" not in message
    assert "symbolic" not in message


@pytest.mark.parametrize(
    "middle",
    [
        lambda s, x: functional.relu(s.conv(x) + x, inplace=True),
        lambda s, x: (lambda y: s.relu(y) + x)(s.conv(x)),
        lambda s, x: (lambda y: y.add_(x))(s.conv(x)),
        lambda s, x: (lambda y: s.relu(y) + y)(s.conv(x)),
        lambda s, x: (lambda y: y.add_(x) + y)(s.conv(x)),
        lambda s, x: (lambda y: s.relu(y.contiguous()) + s.conv(y))(s.conv(x)),
        lambda s, x: (lambda y: functional.relu(y, inplace=True) + s.conv(y))(s.conv(x)),
        lambda s, x: (lambda y: (s.relu(y.view(-1, 8, 49)), y)[1] + x)(s.conv(x)),
        lambda s, x: (lambda y: (y[:, 2:4].add_(x[:, :2]), y)[1])(s.conv(x)),
    ],
)
def test_changes_in_place(middle: Change) -> None:
    """Also where something else reads again what was changed, or a view of it."""
    check(Network(middle=middle, conv=nn.Conv2d(8, 8, 1), relu=nn.ReLU(inplace=True)))


@pytest.mark.parametrize(
    "last",
    [nn.ReLU(), nn.ReLU6(), nn.Sequential(nn.ReLU(), nn.BatchNorm1d(16)), nn.PReLU(16)],
    ids=lambda last: str(last),
)
def test_a_last_layer_without_integers_is_known_before_training(last: nn.Module) -> None:
    """Runtimes would compute the linear layer before it in float: the export refused it after the distillation."""
    network = randomize(Network(head=lambda s, x: s.last(x), last=last), slopes=SLOPES)
    with raises_naming(LoweringError, "last.1" if isinstance(last, nn.Sequential) else "last"):
        make_student(network)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["fc.weight", "stem.1.bias", "stem.2.weight"])
def test_numbers_that_are_none(name: str, value: float) -> None:
    network = randomize(Network())
    with torch.no_grad():
        network.get_parameter(name).view(-1)[0] = value
    with raises_naming(LoweringError, name.rpartition(".")[0], name.rpartition(".")[2]):
        make_student(network)


def test_a_variance_below_zero() -> None:
    network = randomize(Network())
    network.stem[1].running_var.fill_(-1)
    with raises_naming(LoweringError, "stem.1", "NaN"):
        make_student(network)


@pytest.mark.parametrize(
    ("layers", "facts"),
    [
        ({"fc": nn.Linear(391, 16)}, ("fc", "(1, 392)")),
        ({"fc": nn.Linear(392, 1)}, ("2", "1")),
        ({"fc": nn.Sequential(nn.Unflatten(1, (8, 7, 7)))}, ("(1, 8, 7, 7)",)),
    ],
)
def test_sizes_that_do_not_go_together(layers: dict[str, nn.Module], facts: tuple[str, ...]) -> None:
    refused(Network(**layers), *facts)


def test_a_network_that_is_not_the_same_in_every_call() -> None:
    """What fx cannot see, as it happens while the network is called: the count of calls."""

    class Counting(Network):
        calls = 0

        def forward(self, x: Tensor) -> Any:
            Counting.calls += 1
            result = super().forward(x)
            return result if Counting.calls == 1 else self.fc(torch.flip(self.stem(x), [1]).flatten(1))

    message = refused(Counting(), "Counting")
    names(message, "eval")


@pytest.mark.parametrize("name", ["add", "image_input", "image_normalization", "flatten", "add_quantizer", "cat"])
def test_layers_named_as_those_that_efq_adds(name: str) -> None:
    check(Network(middle=lambda s, x: getattr(s, name)(x) + x, **{name: nn.Conv2d(8, 8, 1)}))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_other_floating_types(dtype: torch.dtype) -> None:
    network = randomize(Network()).to(dtype)
    graph = trace(network, MEAN, STD, height=28, width=28)
    assert relative_difference(graph, normalized(network.float()), IMAGES) < 1e-4


def test_nothing_but_the_error_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    """torch prints graphs that it cannot export."""
    refused(Network(middle=lambda s, x: x if x.sum() > 0 else x + x.amax()), "values")
    assert capfd.readouterr() == ("", "")


def check(network: Network) -> None:
    """The student without its quantizers is the network."""
    network = randomize(network, slopes=SLOPES)
    student = make_student(network)
    set_enabled(student.network, enabled=False)
    assert relative_difference(student.network, normalized(network), IMAGES) < 0.05
