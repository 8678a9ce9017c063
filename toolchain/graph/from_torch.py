"""Trace a network and write every node of its graph as one of the operations EFQ knows.

Requires: a feed-forward network in eval mode, one input and one output, without control flow on tensor values.
Ensures: a graph of module calls only, of `efq.toolchain.graph.operations`, BatchNorm as ChannelAffine, PReLU as
nn.PReLU; the float function is unchanged to rounding.
"""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.fx.proxy import TraceError

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.operations import (
    IMAGE_SCALE,
    IMAGE_ZERO_POINT,
    Add,
    ChannelAffine,
    Concat,
    Flatten,
    GlobalAveragePool,
    ImageInput,
    LeakyRelu,
    QuantizedConv2d,
    QuantizedLinear,
)
from efq.toolchain.graph.source_lines import LineTracer, described, keep_line, line_of_error, without_addresses
from efq.toolchain.graph.torch_functions import is_size, operation_of
from efq.toolchain.graph.traceable import check_calls, check_numbers, refuse_hooks
from efq.toolchain.graph.traversal import free_name, remove, replace_module

_DROPPED = (nn.Dropout, nn.Dropout2d, nn.Identity)
_KEPT = (nn.ReLU, nn.ReLU6, nn.MaxPool2d, nn.AvgPool2d)
_FOLDED = (
    *(nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d, nn.PReLU, nn.LeakyReLU, nn.Flatten),
    nn.AdaptiveAvgPool2d,
)
_WORDS_OF_FX = ("Proxy", "symbolic")
_FORMS = (
    "convolutions with zero padding, linear layers, BatchNorm, ReLU, ReLU6, PReLU, LeakyReLU, add, concat, pooling or "
    "flatten"
)


def trace(network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> fx.GraphModule:
    """A lowered float graph that takes uint8 (N, H, W, 3) images: ImageInput, the normalization, then `network`.

    Raises LoweringError naming the layer or the line of code when the network cannot be traced, holds an operation
    without an integer form, or changes numbers in a way that no graph shows.
    """
    refuse_hooks(network)
    graph = _traced(network)
    _separate_calls(graph)
    _prepend_input(graph, mean, std)
    for node in list(graph.graph.nodes):
        _canonicalize(graph, node)
    graph.graph.eliminate_dead_code()
    _refuse_leftovers(graph)
    graph.delete_all_unused_submodules()
    graph.recompile()
    graph.requires_grad_(True)
    return graph.eval()


def _traced(network: nn.Module) -> fx.GraphModule:
    name = type(network).__name__
    try:
        root = copy.deepcopy(network).eval().float()
        graph = LineTracer().trace(root)
    except Exception as error:  # of the network's own code, too
        place = line_of_error(error)
        reason = f"{type(error).__name__}: {without_addresses(error)}"
        if isinstance(error, TraceError) or any(word in reason for word in _WORDS_OF_FX):
            reason = "it decides, counts or computes by a tensor's values or sizes"
        message = (
            f"cannot trace {name}{f' at {place}' if place else ''}: {reason}; expected a feed-forward network, whose "
            "if, for, float() and len() do not depend on its input"
        )
        raise LoweringError(message) from error
    check_calls(graph, root)
    return fx.GraphModule(root, graph)


def _refuse_leftovers(network: fx.GraphModule) -> None:
    for node in network.graph.nodes:
        if node.op not in ("placeholder", "call_module", "output"):
            message = f"{described(node)} has no integer form where it stands: expected {_FORMS}"
            raise LoweringError(message)


def _separate_calls(network: fx.GraphModule) -> None:
    """Give every call of a module that is called more than once its own copy: the passes change modules in place."""
    called: set[str] = set()
    for node in network.graph.nodes:
        if node.op == "call_module" and node.target in called:
            module = copy.deepcopy(network.get_submodule(str(node.target)))
            node.target = free_name(network, f"{node.target}_for_{node.name}")
            network.add_submodule(node.target, module)
        called.add(str(node.target))


def _prepend_input(network: fx.GraphModule, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    inputs = [node for node in network.graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        message = f"expected a network with one input, found {len(inputs)}: {[node.name for node in inputs]}"
        raise LoweringError(message)
    image = ImageInput()
    normalization = ChannelAffine(3)
    with torch.no_grad():
        scale = torch.tensor(std, dtype=torch.float64)
        normalization.weight.copy_(1.0 / (IMAGE_SCALE * scale))
        normalization.bias.copy_((IMAGE_ZERO_POINT - torch.tensor(mean, dtype=torch.float64)) / scale)
    names = [free_name(network, name) for name in ("image_input", "image_normalization")]
    network.add_submodule(names[0], image)
    network.add_submodule(names[1], normalization)
    with network.graph.inserting_after(inputs[0]):
        first = network.graph.call_module(names[0], (inputs[0],))
    with network.graph.inserting_after(first):
        second = network.graph.call_module(names[1], (first,))
    inputs[0].replace_all_uses_with(second, delete_user_cb=lambda user: user is not first)


def _canonicalize(network: fx.GraphModule, node: fx.Node) -> None:
    if node.op in ("placeholder", "output", "get_attr") or is_size(node):
        return
    if node.op == "call_module":
        _canonicalize_module(network, node, network.get_submodule(str(node.target)))
        return
    replacement = operation_of(node)
    inputs = None if replacement is None else _tensors(node, replacement)
    if replacement is None or inputs is None:
        message = f"{described(node)} has no integer form as it is called: expected {_FORMS}"
        raise LoweringError(message)
    if len(set(inputs)) < len(inputs):
        message = f"{described(node)} reads one tensor twice, which has no integer form: give it two"
        raise LoweringError(message)
    if isinstance(replacement, nn.Identity):
        remove(network, node)
    else:
        _call_instead(network, node, check_numbers(node, replacement), inputs)


def _tensors(node: fx.Node, operation: nn.Module) -> tuple[fx.Node, ...] | None:
    """What a call of a function reads, in its order; None where it does not say it in the usual way."""
    if isinstance(operation, Concat):
        parts = node.args[0] if node.args else node.kwargs.get("tensors", ())
    else:
        parts = node.args if isinstance(operation, Add) else node.args[:1]
    found = tuple(part for part in parts if isinstance(part, fx.Node))  # type: ignore[union-attr]
    whole = isinstance(parts, tuple | list) and len(found) == len(parts) > 0
    return found if whole else None


def _call_instead(network: fx.GraphModule, node: fx.Node, module: nn.Module, inputs: tuple[fx.Node, ...]) -> None:
    name = free_name(network, node.name)
    network.add_submodule(name, module.eval())
    with network.graph.inserting_before(node):
        call = network.graph.call_module(name, inputs)
    keep_line(call, node)
    node.replace_all_uses_with(call)
    network.graph.erase_node(node)


def _canonicalize_module(network: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    if isinstance(module, (Add, ChannelAffine, ImageInput)):
        return
    if isinstance(module, _DROPPED):
        remove(network, node)
        return
    replacement = _module_form(module) if len(node.args) == 1 and not node.kwargs else None
    if replacement is None:
        message = f"{described(node, network)} has no integer form: expected {_FORMS}"
        raise LoweringError(message)
    if replacement is not module:
        replace_module(network, node, replacement)
    check_numbers(node, replacement)


def _is_special_pool(module: nn.Module) -> bool:
    indices = isinstance(module, nn.MaxPool2d) and module.return_indices
    return indices or (isinstance(module, nn.AvgPool2d) and module.divisor_override is not None)


def _computes_as(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether it is of one of `kinds` and has the forward of that: neither a class nor an object of its own way."""
    own = "forward" in vars(module)
    return not own and any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def _module_form(module: nn.Module) -> nn.Module | None:
    """The operation that `module` is: itself, another, or None."""
    if _computes_as(module, *_KEPT):
        return None if _is_special_pool(module) else module
    if not _computes_as(module, *_FOLDED):
        return None
    match module:
        case nn.Conv2d() if module.padding_mode == "zeros" and not isinstance(module.padding, str):
            return _convolution(module)
        case nn.Linear():
            return _linear(module)
        case nn.BatchNorm2d() | nn.BatchNorm1d():
            return _affine(module)
        case nn.PReLU():
            return module if module.num_parameters > 1 else LeakyRelu(float(module.weight.detach()))
        case nn.LeakyReLU():
            return LeakyRelu(module.negative_slope)
        case nn.Flatten() if module.start_dim == 1 and module.end_dim in (-1, 3):
            return Flatten()
        case nn.AdaptiveAvgPool2d() if module.output_size in (1, (1, 1)):
            return GlobalAveragePool()
    return None


@torch.no_grad()
def _convolution(module: nn.Conv2d) -> QuantizedConv2d:
    result = QuantizedConv2d(
        module.in_channels,
        module.out_channels,
        module.kernel_size,
        module.stride,
        module.padding,
        module.dilation,
        module.groups,
    )
    result.weight.copy_(module.weight)
    assert result.bias is not None
    result.bias.copy_(torch.zeros_like(result.bias) if module.bias is None else module.bias)
    return result


@torch.no_grad()
def _linear(module: nn.Linear) -> QuantizedLinear:
    result = QuantizedLinear(module.in_features, module.out_features)
    result.weight.copy_(module.weight)
    result.bias.copy_(torch.zeros_like(result.bias) if module.bias is None else module.bias)
    return result


@torch.no_grad()
def _affine(module: nn.BatchNorm2d | nn.BatchNorm1d) -> ChannelAffine | None:
    """Ioffe and Szegedy 2015, algorithm 2: gamma / sqrt(variance + epsilon) * (x - mean) + beta."""
    if module.running_var is None or module.running_mean is None:
        return None
    result = ChannelAffine(module.num_features)
    weight = (module.running_var.double() + module.eps).rsqrt()
    if module.weight is not None:
        weight = weight * module.weight.double()
    bias = -module.running_mean.double() * weight
    if module.bias is not None:
        bias = bias + module.bias.double()
    result.weight.copy_(weight)
    result.bias.copy_(bias)
    return result
