"""Sizes without numbers: those that the layers themselves give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from messages import raises_naming
from networks import MEAN, NETWORKS, STD, make_student, random_images, randomize
from torch import Tensor, fx, nn

from efq.toolchain.graph.description import build_graph, describe_graph
from efq.toolchain.graph.operations import (
    Add,
    ChannelAffine,
    Concat,
    Crop,
    Flatten,
    GlobalAveragePool,
    ImageInput,
    LeakyRelu,
    Maximum,
    QuantizedConv2d,
    QuantizedLinear,
)
from efq.toolchain.graph.shapes import ShapeError, embedding_size
from efq.toolchain.graph.walker import Call
from efq.toolchain.lowering import float_graph
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import save_student

TESTS = Path(__file__).parents[1]

WITHOUT_COMPILER = """
import sys, torch
from efq.toolchain.student import load_student
from pathlib import Path
load_student(Path(sys.argv[1]))
assert "torch._dynamo" not in sys.modules
"""


def empty(network: fx.GraphModule) -> fx.GraphModule:
    with torch.device("meta"):
        return build_graph(describe_graph(network))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("form", ["float", "quantized"])
def test_each_layer_of_a_network(name: str, form: str) -> None:
    network = randomize(NETWORKS[name]())
    graph = float_graph(network, MEAN, STD, height=28, width=28) if form == "float" else make_student(network).network
    found: dict[str, tuple[int, ...]] = {}

    def keep(call: Call, value: Tensor) -> None:
        found[call.name] = tuple(value.shape[1:])

    size = embedding_size(empty(graph), 28, 28, visit=keep)
    images = random_images(2)
    wanted: dict[str, tuple[int, ...]] = {}
    for layer in found:
        graph.get_submodule(layer).register_forward_pre_hook(
            lambda module, inputs, layer=layer: wanted.__setitem__(layer, tuple(inputs[0].shape[1:]))
        )
    with torch.no_grad():
        assert graph(images).shape == (2, size)
    assert found == wanted


def graph_of(*operations: nn.Module) -> fx.GraphModule:
    """Each reads what is before it, those of two inputs that twice removed as well."""
    graph = fx.Graph()
    nodes = [graph.placeholder("images")]
    root = nn.Module()
    for place, operation in enumerate(operations):
        root.add_module(f"layer{place}", operation)
        inputs = tuple(nodes[:-3:-1]) if isinstance(operation, Add | Maximum | Concat) else (nodes[-1],)
        nodes.append(graph.call_module(f"layer{place}", inputs))
    graph.output(nodes[-1])
    return fx.GraphModule(root, graph)


@pytest.mark.parametrize(
    "wrong",
    [
        [ImageInput(), ImageInput()],
        [ImageInput(), nn.PReLU(4)],
        [ImageInput(), ChannelAffine(4)],
        [ImageInput(), QuantizedLinear(27, 4)],
        [ImageInput(), QuantizedConv2d(4, 4, 1)],
        [ImageInput(), QuantizedConv2d(3, 4, 3), Add()],
        [ImageInput(), QuantizedConv2d(3, 3, 3), Maximum()],
        [ImageInput(), QuantizedConv2d(3, 4, 3), Concat()],
        [ImageInput(), Flatten(), GlobalAveragePool()],
        [ImageInput(), Flatten(), Crop(top=0, bottom=1, left=0, right=1)],
        [ImageInput(), nn.MaxPool2d(30)],
        [ImageInput(), nn.ReLU(), Crop(top=9, bottom=9, left=0, right=1)],
    ],
    ids=lambda layers: str(len(layers)) + type(layers[-1]).__name__,
)
def test_the_first_layer_that_does_not_fit_is_named(wrong: list[nn.Module]) -> None:
    with raises_naming(ShapeError, f"layer{len(wrong) - 1}", type(wrong[-1]).__name__):
        embedding_size(empty(graph_of(*wrong)), 28, 28)


def test_layers_that_fit() -> None:
    layers = [ImageInput(), LeakyRelu(), nn.PReLU(3), Maximum(), ActivationQuantizer(bits=8, signed=True), Concat()]
    assert embedding_size(empty(graph_of(*layers, GlobalAveragePool(), Flatten(), QuantizedLinear(6, 5))), 28, 28) == 5


@pytest.mark.slow
def test_torch_does_not_load_its_compiler_for_it(tmp_path: Path) -> None:
    """A second or more of each command that opens a student, and a folder among the temporary files."""
    save_student(make_student(randomize(NETWORKS["pooling"]())), tmp_path / "student.pt")
    command = [sys.executable, "-c", WITHOUT_COMPILER, str(tmp_path / "student.pt")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS, check=False)
    assert done.returncode == 0, done.stderr
