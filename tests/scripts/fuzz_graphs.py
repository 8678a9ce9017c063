"""Take random graphs of a student's operations all the way: `python tests/scripts/fuzz_graphs.py --count 500 --seed 0`.

What `fuzz_networks.py` does with torch networks, behind the tracing: gates, swishes, selected channels, pads on any
side, clipped ReLUs and everything else in any order. Lowering has to leave the float function as it was, and each
graph has to come to an artifact that agrees with its student, or be refused as an EfqError. Anything else is a hole.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import tests_folder  # noqa: F401
import torch
from fuzz_networks import check_words, count_networks
from graphs import faces, make_graph_student
from networks import randomize
from torch import Tensor, fx, nn
from torch.nn import functional

from efq.export import EngineSettings, export_student, find_target
from efq.runtime import Embedder
from efq.runtime.errors import EfqError
from efq.toolchain.graph.operations import (
    FLOAT_ACTIVATIONS,
    Add,
    ChannelAffine,
    ClippedRelu,
    Concat,
    Crop,
    Flatten,
    GlobalAveragePool,
    ImageInput,
    LeakyRelu,
    Multiply,
    Pad,
    QuantizedConv2d,
    QuantizedLinear,
    SelectChannels,
)
from efq.toolchain.lowering.quantization.compensate_rounding import compensate_rounding
from efq.toolchain.quantizers import set_enabled
from efq.toolchain.student import load_student, save_student

HEIGHT, WIDTH = 24, 20
MOST_STEPS = 9
MEASURED = 16  # faces that a graph is lowered on
MOST_VALUES = 1 << 14
_ALIKE = 0.9999


class Drawing:
    """A graph while it is drawn: each operation is tried on an image, and left out where it does not fit."""

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.root, self.graph = draw, nn.Module(), fx.Graph()
        self.nodes, self.values = [self.graph.placeholder("images")], [faces(2, HEIGHT, WIDTH)]
        self.add(ImageInput())
        self.nodes, self.values = self.nodes[1:], self.values[1:]
        self.add(ChannelAffine(3))

    @property
    def last(self) -> Tensor:
        return self.values[-1]

    def add(self, module: nn.Module, *places: int) -> bool:
        """Of the values at `places`, or of the last one."""
        places = places or (len(self.values) - 1,)
        try:
            with torch.no_grad():
                value = module.eval()(*[self.values[place] for place in places])
        except (RuntimeError, IndexError):
            return False
        if not value.numel() or value.numel() > MOST_VALUES:
            return False
        name = f"{type(module).__name__.lower()}{len(self.values)}"
        self.root.add_module(name, module)
        self.nodes.append(self.graph.call_module(name, tuple(self.nodes[place] for place in places)))
        self.values.append(value)
        return True

    def partner(self, fits: Callable[[Tensor], bool]) -> int | None:
        """A value before the last that `fits`."""
        found = [place for place, value in enumerate(self.values[:-1]) if fits(value)]
        return self.draw.choice(found) if found else None

    def finished(self) -> fx.GraphModule:
        self.graph.output(self.nodes[-1])
        graph = fx.GraphModule(self.root, self.graph)
        graph.graph.eliminate_dead_code()
        graph.delete_all_unused_submodules()
        graph.recompile()
        return graph.requires_grad_(True).eval()


def convolution(drawing: Drawing) -> None:
    draw, channels = drawing.draw, drawing.last.shape[1]
    kernel, groups = draw.choice((1, 1, 3, 3, 5)), draw.choice((1, 1, channels, 2))
    outputs = channels if groups == channels else draw.choice((4, 8, 12))
    padding = draw.choice((0, kernel // 2, kernel // 2))
    if channels % groups == 0 and outputs % groups == 0:
        stride, dilation = draw.choice((1, 1, 2)), draw.choice((1, 1, 1, 2))
        drawing.add(QuantizedConv2d(channels, outputs, kernel, stride, padding, dilation, groups))


def normalization(drawing: Drawing) -> None:
    drawing.add(ChannelAffine(drawing.last.shape[1]))


def activation(drawing: Drawing) -> None:
    channels = drawing.last.shape[1]
    kinds = (nn.ReLU, nn.ReLU, nn.ReLU6, LeakyRelu, *FLOAT_ACTIVATIONS)
    made = [kind() for kind in kinds] + [ClippedRelu(drawing.draw.choice((0.5, 1.0, 4.0))), nn.PReLU(channels)]
    drawing.add(drawing.draw.choice(made))


def pad(drawing: Drawing) -> None:
    above, below, before, behind = (drawing.draw.choice((0, 1, 2)) for _ in range(4))
    if drawing.draw.random() < 0.4:
        below, behind = above, before
    drawing.add(Pad(above=above, below=below, before=before, behind=behind))


def select(drawing: Drawing) -> None:
    draw, channels = drawing.draw, drawing.last.shape[1]
    order = list(range(channels))
    first = draw.randrange(channels)
    halves = [*order[::2], *order[1::2]]
    drawn = [draw.randrange(channels) for _ in order]
    parts = (order[first:], order[: first + 1], order[::-1], halves, drawn, order)
    drawing.add(SelectChannels(draw.choice(parts)))


def gate(drawing: Drawing) -> None:
    """Squeeze and excite, the gate in front or behind."""
    draw, place, channels = drawing.draw, len(drawing.values) - 1, drawing.last.shape[1]
    if drawing.last.shape[2:].numel() == 1:
        return
    drawing.add(GlobalAveragePool())
    drawing.add(QuantizedConv2d(channels, 4, 1))
    activation(drawing)
    drawing.add(QuantizedConv2d(drawing.last.shape[1], channels, 1))
    drawing.add(draw.choice((nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.ReLU6))())
    operands = [place, len(drawing.values) - 1]
    draw.shuffle(operands)
    drawing.add(Multiply(), *operands)


def of_two(drawing: Drawing) -> None:
    shape, last = drawing.last.shape, len(drawing.values) - 1
    module = drawing.draw.choice((Add(), Add(), Concat(), Multiply()))
    is_concat = isinstance(module, Concat)
    place = drawing.partner(lambda value: value.shape[2:] == shape[2:] if is_concat else value.shape == shape)
    if place is not None:
        operands = [place, last]
        drawing.draw.shuffle(operands)
        drawing.add(module, *operands)


def pool(drawing: Drawing) -> None:
    kernel, stride = drawing.draw.choice((2, 3)), drawing.draw.choice((1, 2))
    drawing.add(drawing.draw.choice((nn.MaxPool2d, nn.AvgPool2d))(kernel, stride, drawing.draw.choice((0, 1))))


def crop(drawing: Drawing) -> None:
    drawing.add(Crop(top=1, bottom=1 << 30, left=0, right=drawing.last.shape[3] - 1))


STEPS = (
    (5, convolution),
    (1, normalization),
    (4, activation),
    (2, pad),
    (3, select),
    (2, gate),
    (3, of_two),
    (1, pool),
)
STEPS = (*STEPS, (1, crop))


def head(drawing: Drawing) -> None:
    drawing.add(GlobalAveragePool())
    drawing.add(Flatten())
    if drawing.draw.random() < 0.3:
        drawing.add(QuantizedLinear(drawing.last.shape[1], 8))
        activation(drawing)
    if drawing.draw.random() < 0.2:
        select(drawing)
    drawing.add(QuantizedLinear(drawing.last.shape[1], 8))


def drawn_graph(draw: random.Random) -> fx.GraphModule:
    drawing = Drawing(draw)
    drawing.add(QuantizedConv2d(3, 8, 3, draw.choice((1, 2)), draw.choice((0, 1))))
    for _ in range(draw.randrange(1, MOST_STEPS + 1)):
        draw.choices([step for _, step in STEPS], [weight for weight, _ in STEPS])[0](drawing)
    head(drawing)
    graph = randomize(drawing.finished(), seed=draw.randrange(1 << 30), slopes=draw.choice(((0.2,), (-0.3, 0.6))))
    with torch.no_grad():
        for module in graph.modules():
            if isinstance(module, ChannelAffine):
                module.weight.uniform_(0.6, 1.4)
                module.bias.uniform_(-0.2, 0.2)
        graph.get_submodule("channelaffine1").bias.zero_()  # whose zeros are those of the padding behind it
    return graph


def outcome(graph: fx.GraphModule, draw: random.Random, folder: Path) -> str:
    """What the chain came to: where it was refused, or the target the graph was exported for."""
    target = draw.choice(("ort-cpu", "ort-cpu", "openvino", "trt-rtx"))
    recipe = {"symmetric_activations": target == "trt-rtx" and draw.random() < 0.6}
    if not recipe["symmetric_activations"] and target != "trt-rtx" and draw.random() < 0.25:
        recipe |= {"activation_bits": draw.choice((5, 6)), "elementwise_8bit": draw.choice(("none", "all"))}
    images = faces(MEASURED, HEIGHT, WIDTH)[:3]  # on others a channel widened behind a bound may differ (decision 83)
    with torch.no_grad():
        wanted = graph(images)
    try:
        student = make_graph_student(graph, height=HEIGHT, width=WIDTH, images=MEASURED, float_share=0.5, **recipe)
    except EfqError as error:
        check_words(error)
        return f"refused before training ({type(error).__name__}): {error}"
    if not any("border" in note for note in student.notes):
        set_enabled(student.network, enabled=False)
        with torch.no_grad():
            difference = float((student.network(images) - wanted).abs().max() / wanted.abs().max().clamp(min=1e-6))
        set_enabled(student.network, enabled=True)
        assert difference < 1e-3, f"lowered, the float function differs by {difference}"
    compensate_rounding(student.network, images)
    save_student(student, folder / "student.pt")
    student = load_student(folder / "student.pt")
    found = find_target(target)
    engine = EngineSettings(build=False) if found.builds_engine else None
    try:
        result = export_student(student, found, folder / "artifact", bits=8, engine=engine, force=True)
    except EfqError as error:
        check_words(error)
        return f"refused by the export for {target} ({type(error).__name__}): {error}"
    assert result.coverage is None or result.coverage.multiply_adds.fraction == 1
    backend = "openvino" if target == "openvino" else "onnxruntime"
    with torch.no_grad():
        directions = functional.normalize(student.network(images), dim=1)
    if float((directions[0] * directions).sum(1).min()) > _ALIKE:
        return "gives all images one embedding"  # which opening refuses
    with Embedder.open(folder / "artifact", device="cpu", backend=backend) as embedder:
        assert embedder.embed(images.numpy()).shape == (3, student.embedding_size)
    return f"exported for {target} and opened"


if __name__ == "__main__":
    count_networks(__doc__, drawn_graph, outcome, count=300)
