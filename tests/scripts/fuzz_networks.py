"""Take random networks all the way, many of them: `python tests/scripts/fuzz_networks.py --count 2000 --seed 0`.

Each is drawn from a grammar of layers, functions and heads, some of which have no integer form. Whatever is traced has
to come to an artifact that agrees with its student, or be refused as an EfqError that names a layer or a line and no
place in memory. Anything else is a hole: it is printed with the seed of its network, and the exit code is 1.
"""

from __future__ import annotations

import dataclasses
import os
import random
import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tests_folder  # noqa: F401
import torch
from counting import count_attempts, parser
from networks import make_student, random_images, randomize
from torch import Tensor, nn
from torch.nn import functional

from efq.export import EngineSettings, export_student, find_target
from efq.runtime import Embedder
from efq.runtime.errors import EfqError, IncompatibleArtifactError, LoweringError
from efq.toolchain.student import load_student, save_student

SIZE = 28
MOST_STEPS = 8
NAMED = re.compile(r"layer '|\.py:\d+|'[\w.]+'|Drawn|the network")

Function = Callable[["Drawn", Tensor, Tensor], Tensor]
"""Of the last tensor, and of one before it that has its rows and columns."""


@dataclasses.dataclass
class Step:
    """A function of the tensors at `places`, or the layer `name` on the first of them."""

    places: tuple[int, int]
    function: Function | None = None
    name: str = ""


class Drawn(nn.Module):
    """Steps, each of which makes one more tensor out of those before it."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.layers = nn.ModuleDict()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Any:
        values = [x]
        for step in self.steps:
            values.append(self.take(step, values))
        return values[-1]

    def take(self, step: Step, values: list[Tensor]) -> Tensor:
        x, y = (values[place] for place in step.places)
        result: Tensor = self.layers[step.name](x) if step.function is None else step.function(self, x, y)
        return result


def convolution(draw: random.Random, x: Tensor) -> nn.Module:
    channels = x.shape[1]
    kernel, groups = draw.choice((1, 1, 3, 3, 3, 5)), draw.choice((1, 1, 1, channels))
    outputs = channels if groups > 1 else draw.choice((4, 8, 12))
    padding = draw.choice((0, kernel // 2, kernel // 2, kernel // 2, kernel // 2 + 1))
    stride, dilation = draw.choice((1, 1, 1, 2, 2, 3)), draw.choice((1, 1, 1, 1, 2))
    bias = draw.random() < 0.5
    return nn.Conv2d(channels, outputs, kernel, stride, padding, dilation, groups, bias=bias)


def pool(draw: random.Random, x: Tensor) -> nn.Module:
    kernel, stride, ceil_mode = draw.choice((2, 3)), draw.choice((1, 2, 3)), draw.random() < 0.3
    padding = draw.choice((0, 0, 1))
    if draw.random() < 0.5:
        return nn.MaxPool2d(kernel, stride, padding, draw.choice((1, 1, 2)), ceil_mode=ceil_mode)
    return nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil_mode, count_include_pad=draw.random() < 0.7)


LAYERS: tuple[tuple[int, Callable[[random.Random, Tensor], nn.Module]], ...] = (
    (10, convolution),
    (5, lambda draw, x: nn.BatchNorm2d(x.shape[1])),
    (4, lambda draw, x: nn.PReLU(x.shape[1])),
    (3, lambda draw, x: nn.ReLU(inplace=draw.random() < 0.5)),
    (1, lambda draw, x: nn.ReLU6(inplace=draw.random() < 0.5)),
    (1, lambda draw, x: nn.LeakyReLU(draw.choice((0.01, 0.3, 1.5)))),
    (1, lambda draw, x: nn.PReLU()),
    (2, pool),
    (1, lambda draw, x: nn.Dropout(0.5)),
    (1, lambda draw, x: nn.Identity()),
    (1, lambda draw, x: nn.Sequential(nn.Conv2d(x.shape[1], 8, 1), nn.BatchNorm2d(8), nn.PReLU(8))),
)
FUNCTIONS: tuple[tuple[int, Function], ...] = (
    (3, lambda network, x, y: functional.relu(x)),
    (1, lambda network, x, y: x.relu()),
    (1, lambda network, x, y: functional.relu(x, inplace=True)),
    (1, lambda network, x, y: functional.leaky_relu(x, 0.2)),
    (1, lambda network, x, y: functional.relu6(x)),
    (2, lambda network, x, y: x[:, :, 1:-1, 1:]),
    (1, lambda network, x, y: x[:, :, :5, 0:]),
    (1, lambda network, x, y: functional.dropout(x, 0.5, network.training)),
    (1, lambda network, x, y: x.contiguous()),
    (1, lambda network, x, y: x + x.mean((2, 3), keepdim=True)),
)
OF_TWO: tuple[tuple[int, Function], ...] = (
    (6, lambda network, x, y: x + y),
    (2, lambda network, x, y: torch.add(y, x)),
    (4, lambda network, x, y: torch.cat([x, y], 1)),
    (2, lambda network, x, y: torch.cat((y, x), dim=1)),
    (1, lambda network, x, y: functional.relu(x) + y),
    (1, lambda network, x, y: x.add(y)),
)
UNSUPPORTED: tuple[Function, ...] = (
    lambda network, x, y: torch.sigmoid(x),
    lambda network, x, y: x * x,
    lambda network, x, y: x + network.scale,
    lambda network, x, y: x * network.scale,
    lambda network, x, y: x + 1,
    lambda network, x, y: 2 * x,
    lambda network, x, y: torch.cat(x.chunk(2, 1)[::-1], 1),
    lambda network, x, y: x.transpose(2, 3),
    lambda network, x, y: functional.interpolate(x, scale_factor=2),
    lambda network, x, y: x if x.sum() > 0 else -x,
    lambda network, x, y: x + float(x.max()),
    lambda network, x, y: x.add_(x),
    lambda network, x, y: functional.max_pool2d(x, 2),
    lambda network, x, y: x.clamp(0, 3),
    lambda network, x, y: torch.stack(list(x)),
    lambda network, x, y: functional.pad(x, (1, 1)),
    lambda network, x, y: x + x,
    lambda network, x, y: x - y,
    lambda network, x, y: x[:, 1:],
    lambda network, x, y: x[..., ::2],
)
ODD_LAYERS: tuple[Callable[[random.Random, Tensor], nn.Module], ...] = (
    lambda draw, x: nn.GELU(),
    lambda draw, x: nn.Hardswish(),
    lambda draw, x: nn.AdaptiveAvgPool2d(2),
    lambda draw, x: nn.GroupNorm(1, x.shape[1]),
    lambda draw, x: nn.InstanceNorm2d(x.shape[1]),
    lambda draw, x: nn.Conv2d(x.shape[1], 4, 3, padding="same"),
    lambda draw, x: nn.Conv2d(x.shape[1], 4, 3, padding=1, padding_mode="reflect"),
    lambda draw, x: nn.ConvTranspose2d(x.shape[1], 4, 2),
    lambda draw, x: nn.Upsample(scale_factor=2),
    lambda draw, x: nn.AvgPool2d(2, divisor_override=3),
    lambda draw, x: nn.Softmax(1),
)
FLATTENINGS: tuple[Function, ...] = (
    lambda network, x, y: torch.flatten(x, 1),
    lambda network, x, y: x.flatten(1),
    lambda network, x, y: x.view(x.size(0), -1),
    lambda network, x, y: x.reshape(x.shape[0], -1),
    lambda network, x, y: x.reshape(-1, x[0].numel()),
)
LAST: tuple[Callable[[int], nn.Module], ...] = (
    nn.BatchNorm1d,
    lambda size: nn.ReLU(),
    lambda size: nn.ReLU6(),
    nn.PReLU,
    lambda size: nn.LeakyReLU(0.1),
    lambda size: nn.Dropout(0.2),
    lambda size: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(size)),
    lambda size: nn.Sequential(nn.BatchNorm1d(size), nn.Linear(size, 8)),
    lambda size: nn.Sequential(nn.PReLU(), nn.Linear(size, 8)),
    lambda size: nn.LayerNorm(size),
    lambda size: nn.Softmax(1),
)


def weighted(draw: random.Random, table: tuple[tuple[int, Any], ...]) -> Any:
    return draw.choices([entry for _, entry in table], [weight for weight, _ in table])[0]


class Drawing:
    """A network while it is drawn: each step is tried on an image, and left out where it does not fit."""

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.network = draw, Drawn().eval()
        self.values = [torch.rand(2, 3, SIZE, SIZE)]

    def function(self, function: Function) -> bool:
        last = len(self.values) - 1
        return self._add(Step(places=(last, last), function=function))

    def of_two(self, function: Function) -> bool:
        """A function of the last tensor and another of its shape, or at least its rows and columns."""
        last, shape = len(self.values) - 1, self.values[-1].shape
        exact = [place for place, value in enumerate(self.values[:-1]) if value.shape == shape]
        mapped = [place for place, value in enumerate(self.values[:-1]) if value.shape[2:] == shape[2:]]
        return bool(mapped) and self._add(Step(places=(last, self.draw.choice(exact or mapped)), function=function))

    def layer(self, module: nn.Module) -> bool:
        name = f"{type(module).__name__.lower()}{len(self.network.layers)}"
        self.network.layers[name] = module.eval()
        place = len(self.values) - 1
        return self._add(Step(places=(place, place), name=name))

    def again(self) -> bool:
        """A layer that was called before."""
        place, names = len(self.values) - 1, [step.name for step in self.network.steps if step.name]
        return bool(names) and self._add(Step(places=(place, place), name=self.draw.choice(names)))

    def _add(self, step: Step) -> bool:
        try:
            value = self.network.take(step, [value.clone() for value in self.values])
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
        if value.numel() > 1 << 17 or not value.numel():
            return False
        self.network.steps.append(step)
        self.values.append(value)
        return True


@torch.no_grad()
def drawn_network(draw: random.Random) -> Drawn:
    """A network of the grammar: a stem, some steps, a head; one in three has something without an integer form."""
    drawing = Drawing(draw)
    drawing.layer(nn.Conv2d(3, 8, 3, draw.choice((2, 4)), 1))
    steps = draw.randrange(1, MOST_STEPS + 1)
    odd = draw.randrange(steps) if draw.random() < 0.3 else None
    for place in range(steps):
        x = drawing.values[-1]
        if place == odd:
            drawing.function(draw.choice(UNSUPPORTED)) if draw.random() < 0.5 else drawing.layer(
                draw.choice(ODD_LAYERS)(draw, x)
            )
        elif draw.random() < 0.25 and drawing.of_two(weighted(draw, OF_TWO)):
            continue
        elif draw.random() < 0.7 and x.dim() == 4:
            drawing.layer(weighted(draw, LAYERS)(draw, x))
        elif draw.random() < 0.15:
            drawing.again()
        else:
            drawing.function(weighted(draw, FUNCTIONS))
    head(drawing, draw)
    network = randomize(drawing.network, seed=draw.randrange(1 << 30), slopes=draw.choice(((0.2,), (-0.3, 0.6))))
    damage(network, draw)
    return network


def head(drawing: Drawing, draw: random.Random) -> None:
    if draw.random() < 0.3:
        drawing.layer(nn.AdaptiveAvgPool2d(1))
    elif draw.random() < 0.2 and drawing.values[-1].dim() == 4:
        x = drawing.values[-1]
        drawing.layer(nn.Conv2d(x.shape[1], 8, tuple(x.shape[2:])))
    if draw.random() < 0.95:
        drawing.function(draw.choice(FLATTENINGS[:-1] if draw.random() < 0.95 else FLATTENINGS))
    if draw.random() < 0.8:
        drawing.layer(nn.Linear(drawing.values[-1].shape[-1], 16, bias=draw.random() < 0.5))
    if draw.random() < 0.3:
        drawing.layer(draw.choice(LAST)(drawing.values[-1].shape[-1]))


def damage(network: Drawn, draw: random.Random) -> None:
    """In one network of fifteen something that no graph shows."""
    action = draw.random() * 15
    layer = draw.choice(list(network.layers.values()))
    if action < 0.4:
        parameter = draw.choice(list(network.parameters()))
        parameter.view(-1)[0] = draw.choice((float("nan"), float("inf"), 1e30))
    elif action < 0.7:
        layer.register_forward_hook(lambda module, inputs, output: output * 2)
    elif action < 1.0:
        network.double()


def outcome(network: Drawn, draw: random.Random, folder: Path) -> str:
    """What the chain came to for the network: where it was refused, or the target it was exported for."""
    target = draw.choice(("ort-cpu", "ort-cpu", "ort-cpu", "openvino", "trt"))
    symmetric = target == "trt" and draw.random() < 0.7
    activation = draw.choice(("prelu", "prelu", "relu", "leaky", "mixed"))
    pruned_share = draw.choice((0.0, 0.0, 0.0, 0.2))
    try:
        student = make_student(
            network, images=16, activation=activation, symmetric_activations=symmetric, pruned_share=pruned_share
        )
    except EfqError as error:
        check_words(error)
        return f"refused before training ({type(error).__name__})"
    save_student(student, folder / "student.pt")
    student = load_student(folder / "student.pt")
    found = find_target(target)
    engine = EngineSettings(build=False) if found.builds_engine else None
    try:
        export_student(student, found, folder / "artifact", bits=8, engine=engine, force=True)
    except EfqError as error:
        check_words(error)
        return f"refused by the export for {target} ({type(error).__name__}): {error}"
    with Embedder.open(
        folder / "artifact", device="cpu", backend="openvino" if target == "openvino" else "onnxruntime"
    ) as found_embedder:
        try:
            embeddings = found_embedder.embed(random_images(3, size=SIZE).numpy())
        except IncompatibleArtifactError as error:  # its activations are dead for these images, not for the export's
            if "the same one" not in str(error):
                raise
            return f"exported for {target}, and embeds two of three images alike"
    assert embeddings.shape == (3, student.embedding_size)
    assert abs((embeddings**2).sum(1) - 1).max() < 1e-3
    return f"exported for {target} and opened"


def check_words(error: EfqError) -> None:
    """An error names a layer, a line or the network, and no place in memory."""
    text = str(error)
    assert " at 0x" not in text, text
    assert not isinstance(error, LoweringError) or NAMED.search(text), text
    assert "Proxy" not in text, text


def count_networks(
    description: str | None,
    drawn: Callable[[random.Random], Any],
    outcome: Callable[[Any, random.Random, Path], str],
    *,
    count: int,
) -> None:
    """Count what becomes of what `drawn` draws, each with its number as the seed of its weights; exit 1 for a hole."""
    arguments = parser(description, count=count).parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EFQ_CACHE"] = folder

        def attempt(draw: random.Random, number: int) -> str:
            torch.manual_seed(number)
            return outcome(drawn(draw), draw, Path(folder))

        count_attempts(arguments, attempt)


if __name__ == "__main__":
    count_networks(__doc__, drawn_network, outcome, count=500)
