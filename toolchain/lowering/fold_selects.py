"""Take selections of channels (slices, splits, shuffles) into the layers around them.

A selection of what one convolution gives to it alone is a convolution of fewer outputs, or of outputs in another order;
what a dense layer reads in another order is a layer with its weights in that order. A part of a tensor that others read
too stays a selection: as weights with columns of zeros it would be more multiply-adds.

Requires: a traced graph. Ensures: no selection of all channels in their order, none behind another, none of all
channels in front of dense layers alone, and none behind a dense layer whose channels go nowhere else; the float
function is unchanged to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from efq.toolchain.graph.operations import (
    FLOAT_ACTIVATIONS,
    ChannelAffine,
    ClippedRelu,
    Crop,
    Flatten,
    GlobalAveragePool,
    LeakyRelu,
    Pad,
    QuantizedConv2d,
    QuantizedLinear,
    SelectChannels,
)
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, is_free, module_of, producer, remove

_ALIKE_FOR_ALL_CHANNELS = (
    *(nn.ReLU, nn.ReLU6, ClippedRelu, LeakyRelu, *FLOAT_ACTIVATIONS),
    *(nn.MaxPool2d, nn.AvgPool2d, GlobalAveragePool, Crop, Pad),
)
_Dense = QuantizedConv2d | QuantizedLinear


@torch.no_grad()
def fold_selects(network: fx.GraphModule, example: Tensor) -> PassResult:
    """Fold in place; `example` uint8 (1, H, W, 3) gives the shapes."""
    folded = 0
    for node, select in calls(network, SelectChannels):
        assert isinstance(select, SelectChannels)
        _take_in(network, node, select)
        ShapeProp(network).propagate(example)  # anew: layers before it may have fewer channels by now
        channels = int(producer(node).meta["tensor_meta"].shape[1])
        chosen = torch.tensor(select.channels)
        if not is_free(node):
            continue
        if select.channels == tuple(range(channels)) or _into_producer(network, node, chosen):
            folded += 1
            remove(network, node)
        elif len(chosen) >= channels and (readers := _dense_readers(network, node)) is not None:
            for reader in readers:
                _read_unselected(reader, chosen, channels)
            folded += 1
            remove(network, node)
    network.delete_all_unused_submodules()
    network.recompile()
    return PassResult(changed=folded)


def _take_in(network: fx.GraphModule, node: fx.Node, select: SelectChannels) -> None:
    """The selections before `node`, into it; others that read them keep theirs."""
    while isinstance(first := module_of(network, before := producer(node)), SelectChannels):
        select.channels = tuple(first.channels[channel] for channel in select.channels)
        node.replace_input_with(before, producer(before))
        if not before.users:
            network.graph.erase_node(before)


def _into_producer(network: fx.GraphModule, node: fx.Node, chosen: Tensor) -> bool:
    """Let the dense layer in front compute the chosen channels only, in their order; False where there is no such."""
    if len(set(chosen.tolist())) < len(chosen):
        return False
    between: list[nn.Module] = []
    source = producer(node)
    while len(source.users) == 1:
        module = module_of(network, source)
        if isinstance(module, QuantizedLinear) or (isinstance(module, QuantizedConv2d) and module.groups == 1):
            for layer in (module, *between):
                _keep_outputs(layer, chosen)
            return True
        if not isinstance(module, (*_ALIKE_FOR_ALL_CHANNELS, nn.PReLU, ChannelAffine)) and not _is_depthwise(module):
            return False
        assert module is not None
        between.append(module)
        source = producer(source)
    return False


def _is_depthwise(module: nn.Module | None) -> bool:
    return isinstance(module, QuantizedConv2d) and module.groups == module.in_channels == module.out_channels


def _keep_outputs(layer: nn.Module, chosen: Tensor) -> None:
    """Of a layer with one output channel a row of its weight; one without weights is as it was."""
    if not isinstance(layer, QuantizedConv2d | QuantizedLinear | ChannelAffine | nn.PReLU):
        return
    layer.weight = nn.Parameter(layer.weight[chosen])
    match layer:
        case nn.PReLU():
            layer.num_parameters = len(chosen)
            return
        case QuantizedLinear():
            layer.out_features = len(chosen)
        case ChannelAffine():
            layer.channels = len(chosen)
        case QuantizedConv2d() if _is_depthwise(layer):
            layer.in_channels = layer.out_channels = layer.groups = len(chosen)
        case QuantizedConv2d():
            layer.out_channels = len(chosen)
    assert layer.bias is not None
    layer.bias = nn.Parameter(layer.bias[chosen], requires_grad=layer.bias.requires_grad)


def _dense_readers(network: fx.GraphModule, node: fx.Node) -> list[_Dense] | None:
    """The layers that read `node`, also through a Flatten of their own, where all of them are dense."""
    found: list[_Dense] = []
    for user in node.users:
        module = module_of(network, user)
        if isinstance(module, QuantizedLinear) or (isinstance(module, QuantizedConv2d) and module.groups == 1):
            found.append(module)
        elif isinstance(module, Flatten) and (deeper := _dense_readers(network, user)) is not None:
            found.extend(deeper)
        else:
            return None
    return found


def _read_unselected(reader: _Dense, chosen: Tensor, channels: int) -> None:
    """Weights for all `channels` in their order; of a channel that was chosen twice, the sum."""
    outputs, inputs = reader.weight.shape[:2]
    columns = reader.weight.reshape(outputs, len(chosen), inputs // len(chosen), -1)
    weight = columns.new_zeros(outputs, channels, *columns.shape[2:]).index_add_(1, chosen, columns)
    reader.weight = nn.Parameter(weight.reshape(outputs, -1, *reader.weight.shape[2:]))
    if isinstance(reader, QuantizedLinear):
        reader.in_features = reader.weight.shape[1]
    else:
        reader.in_channels = channels
