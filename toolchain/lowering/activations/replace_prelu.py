"""Replace PReLU layer after layer by the activation a recipe chose for it: fitted ReLU or one slope a layer.

Requires: a graph with folded BatchNorms and absorbed affine maps, the choice of each PReLU layer, and a few hundred
faces. Ensures: every PReLU chosen `relu` is an nn.ReLU and every one chosen `leaky` a LeakyRelu, with the layers around
it adjusted; those chosen `prelu` are left for `exact_prelu`. The float function changes; the note of each layer says by
how much (squared error relative to the activation's variance).

The teacher's and the student's values walk through the graph side by side, so that each layer is fitted on what the
student really feeds it, to what the teacher gives (DESIGN section 1).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.operations import WEIGHTED, LeakyRelu
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.scaling import scale_input, scale_output
from efq.toolchain.graph.traversal import module_of, producer, replace_module, weighted_users
from efq.toolchain.lowering.activations.activation_fit import ReluFit, fit_plain_relu, fit_relu, fit_slope
from efq.toolchain.lowering.reconstruct import reconstruct
from efq.toolchain.quantizers.draws import draw_rows

ACTIVATIONS = ("relu", "leaky", "prelu")
_ROWS = 8_192


@torch.no_grad()
def replace_prelu(network: fx.GraphModule, choices: Mapping[str, str], images: Tensor) -> PassResult:
    """Replace in place; `choices` maps each PReLU's name to one of ACTIVATIONS, `images` uint8 (N, H, W, 3)."""
    if set(choices.values()) <= {"prelu"}:
        return PassResult(changed=0)
    walk = _Walk(network, images)
    notes = []
    for node in list(network.graph.nodes):
        module = module_of(network, node)
        choice = choices.get(str(node.target), "prelu") if isinstance(module, nn.PReLU) else "prelu"
        if choice == "prelu":
            walk.advance(node, module)
        else:
            error = walk.replace(node, choice)
            notes.append(f"{node.target}: {choice}, relative squared error {error:.3f}")
    network.recompile()
    return PassResult(changed=len(notes), notes=tuple(notes))


@torch.no_grad()
def relu_fit_errors(network: fx.GraphModule, images: Tensor) -> dict[str, tuple[float, int]]:
    """For each PReLU, in graph order: the error of its fitted ReLU on the teacher's values, its elements an image."""
    found: dict[str, tuple[float, int]] = {}

    class Recorder(fx.Interpreter):
        def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            result = super().call_module(target, args, kwargs)
            if isinstance(network.get_submodule(str(target)), nn.PReLU):
                fit = fit_relu(rows_of(args[0]), rows_of(result))
                found[str(target)] = (fit.error, result[0].numel())
            return result

    Recorder(network).run(images)
    return found


def rows_of(values: Tensor) -> Tensor:
    """(M, C) positions of (N, C, H, W) or (N, C), drawn at random; of tensors of one shape the same."""
    rows = values.permute(0, 2, 3, 1).flatten(0, 2) if values.dim() == 4 else values
    return draw_rows(rows, _ROWS, torch.Generator().manual_seed(0))


class _Walk:
    """The values of teacher and student at every node still to be read."""

    def __init__(self, network: fx.GraphModule, images: Tensor) -> None:
        self.network = network
        self.teacher_modules = copy.deepcopy(network)
        self.teacher: dict[fx.Node, Tensor] = {}
        self.student: dict[fx.Node, Tensor] = {}
        self.images = images
        self.approximated = False
        self.last_reader = {source: node for node in network.graph.nodes for source in node.all_input_nodes}

    def advance(self, node: fx.Node, module: nn.Module | None) -> None:
        """Compute both values of `node`; a weighted layer behind an approximation is reconstructed first."""
        if node.op == "placeholder":
            self.teacher[node] = self.student[node] = self.images
        if module is None:
            return
        inputs = [self.student[source] for source in node.all_input_nodes]
        original = self.teacher_modules.get_submodule(str(node.target))
        self.teacher[node] = original(*[self.teacher[source] for source in node.all_input_nodes])
        if self.approximated and isinstance(module, WEIGHTED):
            reconstruct(module, inputs[0], self.teacher[node])
        self.student[node] = module(*inputs) if self.approximated else self.teacher[node]
        self._forget(node)

    def replace(self, node: fx.Node, choice: str) -> float:
        """Put the chosen activation in place of the PReLU `node`; the relative squared error of the fit."""
        source = producer(node)
        original = self.teacher_modules.get_submodule(str(node.target))
        self.teacher[node] = original(self.teacher[source])
        inputs, targets = rows_of(self.student[source]), rows_of(self.teacher[node])
        error = self._leaky(node, inputs, targets) if choice == "leaky" else self._relu(node, source, inputs, targets)
        self.approximated = True
        self._forget(node)
        return error

    def _leaky(self, node: fx.Node, inputs: Tensor, targets: Tensor) -> float:
        module = LeakyRelu(fit_slope(inputs, targets))
        replace_module(self.network, node, module)
        self.student[node] = module(self.student[producer(node)])
        return float((module(inputs) - targets).square().mean() / targets.var(0).mean().clamp(min=1e-12))

    def _relu(self, node: fx.Node, source: fx.Node, inputs: Tensor, targets: Tensor) -> float:
        before = module_of(self.network, source)
        if not isinstance(before, WEIGHTED) or len(source.users) != 1:
            message = (
                f"cannot fit a ReLU to {node.target!r}: expected it directly behind a convolution or linear layer that "
                "nothing else reads; choose prelu or leaky for it in the recipe"
            )
            raise LoweringError(message)
        users = weighted_users(self.network, node)
        fit = fit_plain_relu(inputs, targets) if users is None else fit_relu(inputs, targets)
        size, flip = _forward_and_backward(fit)
        scale_output(before, size * fit.sign, size * fit.shift)
        for _, user in users or []:
            scale_input(user, flip, fit.offset)
        replace_module(self.network, node, nn.ReLU())
        shape = (1, -1) + (1,) * (self.student[source].dim() - 2)
        shifted = self.student[source] * fit.sign.reshape(shape) + fit.shift.reshape(shape)
        self.student[node] = torch.relu(shifted) * size.reshape(shape)
        return fit.error

    def _forget(self, node: fx.Node) -> None:
        for source in node.all_input_nodes:
            if self.last_reader[source] is node:
                self.teacher.pop(source, None)
                self.student.pop(source, None)


def _forward_and_backward(fit: ReluFit) -> tuple[Tensor, Tensor]:
    """The positive part of the scale, for the layer before, and its sign, for the layers after."""
    size = fit.scale.abs().clamp(min=1e-4)
    return size, torch.where(fit.scale < 0, -1.0, 1.0)
