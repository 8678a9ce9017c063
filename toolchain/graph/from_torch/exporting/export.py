"""A network as torch.export sees it: a graph of ATen operations with a shape at each, and the values of its weights."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import io
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.embedding_output import outputs_of, place_of_embedding
from efq.toolchain.graph.from_torch.exporting.call_lines import keep_lines, lines_of_calls
from efq.toolchain.graph.from_torch.exporting.errors import refusal
from efq.toolchain.graph.from_torch.exporting.memory import changes_what_is_read_again

_logger = logging.getLogger(__name__)
_TALKATIVE = (
    *("torch.fx.experimental.symbolic_shapes", "torch._export.non_strict_utils", "torch.export", "torch._dynamo"),
    *("torch.fx.experimental.proxy_tensor", "torch._subclasses.fake_tensor"),
)
_ROOT = "network"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedNetwork:
    """The ATen graph of a network for `batch` images, a number that divides no size of any layer."""

    graph: fx.Graph
    image: fx.Node
    image_name: str
    """Of the argument that takes the images."""
    embedding: fx.Node
    weights: dict[fx.Node, tuple[str, Tensor]]
    """Name and value of each parameter, buffer and constant tensor."""
    batch: int


class _Outputs(nn.Module):
    """`network`, of whose outputs only the embedding is left."""

    def __init__(self, network: nn.Module, tell: Callable[[str], None]) -> None:
        super().__init__()
        self.network = network
        self.tell = tell

    def forward(self, images: Tensor) -> list[Any]:
        with lines_of_calls():
            result = self.network(images)
        outputs = outputs_of(result)
        self.tell(type(result).__name__)
        place = place_of_embedding(outputs, len(images))
        if place is not None and len(outputs) > 1:
            _logger.debug("the embedding is output %d of %d", place + 1, len(outputs))
        return [] if place is None else [outputs[place]]


def export_network(network: nn.Module, height: int, width: int) -> ExportedNetwork:
    """Export `network`, which is left alone, in eval mode and float32, for images (N, 3, height, width).

    Raises LoweringError for a network whose code cannot be followed without the numbers of an image, and for one that
    returns no tensor (N, ...).
    """
    image_name = _image_argument(network)
    returned: list[str] = []
    root = _Outputs(_copied(network), returned.append).eval().float()
    batch = _batch(network, height, width)
    try:
        with _quiet(), keep_lines():
            exported = torch.export.export(root, (torch.empty(batch, 3, height, width),), strict=False)
            if _needs_functions(exported.graph):
                exported = exported.run_decompositions({})
    except Exception as error:  # of the network's own code, too
        raise refusal(root.network, error, batch) from error
    if not exported.graph_signature.user_outputs:
        message = (
            f"expected {type(network).__name__} to return embeddings, a tensor (N, d), found {returned[-1]}: return "
            "the tensor of embeddings, alone or with others"
        )
        raise LoweringError(message)
    return _collected(exported, image_name, batch, network)


def _image_argument(network: nn.Module) -> str:
    """The name of the first argument of `forward`, the only one without a default."""
    try:
        parameters = list(inspect.signature(network.forward).parameters.values())
    except (TypeError, ValueError):
        return "images"
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [parameter.name for parameter in positional if parameter.default is parameter.empty]
    if len(needed) > 1:
        message = f"expected a network with one input, found {len(needed)}: {needed}"
        raise LoweringError(message)
    name = positional[0].name if positional else "images"
    return name if name.isascii() else "images"


def _copied(network: nn.Module) -> nn.Module:
    """A copy; weights that a hook computes, which torch copies only detached, too."""
    computed = {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(network, computed)


def _batch(network: nn.Module, height: int, width: int) -> int:
    """A prime larger than an image's side that divides no size of a weight: a multiple of it counts images."""
    sizes = {size for tensor in itertools.chain(network.parameters(), network.buffers()) for size in tensor.shape}
    numbers = itertools.count(max(height, width, 96) + 1)
    return next(
        number
        for number in numbers
        if all(number % divisor for divisor in range(2, int(number**0.5) + 1))
        and all(size % number for size in sizes if size)
    )


def _needs_functions(graph: fx.Graph) -> bool:
    """Whether calls are nested, or change tensors in place in a way that the graph's edges do not show."""
    nested = any(isinstance(node.target, torch._ops.HigherOrderOperator) for node in graph.nodes)
    return nested or changes_what_is_read_again(graph)


def _collected(
    exported: torch.export.ExportedProgram, image_name: str, batch: int, network: nn.Module
) -> ExportedNetwork:
    nodes = {node.name: node for node in exported.graph.nodes}
    values: dict[str, Tensor] = {**exported.state_dict, **exported.constants}
    weights: dict[fx.Node, tuple[str, Tensor]] = {}
    image: fx.Node | None = None
    for spec in exported.graph_signature.input_specs:
        node = nodes.get(getattr(spec.arg, "name", ""))
        if spec.kind == InputKind.USER_INPUT:
            image = node
        elif node is not None and isinstance(spec.arg, TensorArgument) and spec.target in values:
            weights[node] = (str(spec.target).removeprefix(f"{_ROOT}."), values[spec.target].detach())
    (output,) = [spec for spec in exported.graph_signature.output_specs if spec.kind == OutputKind.USER_OUTPUT]
    embedding = nodes.get(getattr(output.arg, "name", ""))
    assert image is not None
    if embedding is None:
        message = f"expected the embeddings of {type(network).__name__} to depend on its image, found a constant"
        raise LoweringError(message)
    return ExportedNetwork(
        graph=exported.graph, image=image, image_name=image_name, embedding=embedding, weights=weights, batch=batch
    )


def module_path(entry: tuple[str, str]) -> str:
    """The path in the user's network of an entry of `nn_module_stack`."""
    return entry[0].removeprefix(_ROOT).removeprefix(".")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's log and print of graphs that it cannot export: what is wrong is in the error."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
