"""A traced graph beside its network, on a face or two: its layers go together, and it is the network's function."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.description import build_graph, describe_graph
from efq.toolchain.graph.embedding_output import embedding_of
from efq.toolchain.graph.shapes import ShapeError, embedding_size
from efq.toolchain.graph.source_lines import line_of_error, without_addresses
from efq.toolchain.graph.walker import Call

_IMAGES = 2
_LARGEST_DIFFERENCE = 1e-2  # of the largest number of an embedding; summed in another order, it is 1e-5
_FEWEST_NUMBERS = 2
_NUMBERS = 1e-15, 1e15  # whose squares sum up to a float32 that is neither 0 nor infinity


@torch.no_grad()
def check_graph(
    graph: fx.GraphModule, network: nn.Module, images: Tensor, *, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Compare the traced `graph` of `network` with it on the first of `images` uint8 (N, H, W, 3).

    Raises LoweringError naming a layer whose sizes do not go with those before it, and for a network that fails, gives
    no embedding of at least 2 numbers, gives others than finite ones, or others than its graph.
    """
    _check_sizes(graph, images.shape[1], images.shape[2])
    images = images[:_IMAGES]
    wanted = _embeddings(network, images, mean, std)
    found = graph(images).float()
    if not bool(torch.isfinite(wanted).all()) or not bool(torch.isfinite(found).all()):
        message = f"expected finite embeddings of {type(network).__name__}, found NaN or infinity: check its weights"
        raise LoweringError(message)
    if found.shape != wanted.shape:
        message = (
            f"traced, {type(network).__name__} gives embeddings of {tuple(found.shape)}, called of "
            f"{tuple(wanted.shape)}: expected a network that does the same in every call in eval mode"
        )
        raise LoweringError(message)
    found = _as_long(found, wanted)
    difference, largest = (found - wanted).abs().max(), wanted.abs().max()
    if not _NUMBERS[0] < float(largest) < _NUMBERS[1]:
        message = (
            f"expected embeddings of {type(network).__name__} whose length is a number, found {float(largest):g} as "
            "the largest of their numbers: check its weights and its input"
        )
        raise LoweringError(message)
    if float(difference) > _LARGEST_DIFFERENCE * float(largest):
        message = (
            f"traced, {type(network).__name__} gives other embeddings than called (by {float(difference):g} of "
            f"{float(largest):g}): expected a network that does the same in every call in eval mode, and changes no "
            "tensor in place that it reads again"
        )
        raise LoweringError(message)


def _as_long(found: Tensor, wanted: Tensor) -> Tensor:
    """Each row of `found` times the positive number that brings it nearest to that of `wanted`: lengths are not
    compared."""
    factor = (found * wanted).sum(1, keepdim=True) / found.square().sum(1, keepdim=True).clamp_min(_NUMBERS[0])
    return found * factor.clamp_min(0.0)


def _check_sizes(graph: fx.GraphModule, height: int, width: int) -> None:
    try:
        with torch.device("meta"):
            empty = build_graph(describe_graph(graph))
        size = embedding_size(empty, height, width, visit=_refuse_odd_windows)
    except ShapeError as error:
        message = f"{error} (for images of {height}x{width})"
        raise LoweringError(message) from error
    except ValueError as error:
        message = f"the network cannot be kept in a student file: {error}"
        raise LoweringError(message) from error
    if size < _FEWEST_NUMBERS:
        message = f"expected an embedding of {_FEWEST_NUMBERS} numbers or more, found {size}: directions are compared"
        raise LoweringError(message)


def _refuse_odd_windows(call: Call, value: Tensor) -> None:
    """Windows that runtimes do not compute as torch does, or not at all.

    Of an average with padding torch divides the last window by what is left of it, ONNX by the whole one; a window
    larger than the map, which ceil_mode allows, is none to OpenVINO; one that would begin in the padding behind the map
    is dropped by torch, and none but torch.
    """
    pool = call.module
    if not isinstance(pool, nn.AvgPool2d | nn.MaxPool2d) or not pool.ceil_mode:
        return
    kernel, stride, padding, dilation = map(
        _pair, (pool.kernel_size, pool.stride, pool.padding, getattr(pool, "dilation", 1))
    )
    left = [value.shape[2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1 for i in (0, 1)]
    described = f"layer {call.name!r} ({type(pool).__name__})"
    if min(left) < 0:
        message = f"{described} has a window larger than its map of {tuple(value.shape[2:])}: make it as large"
        raise ShapeError(message)
    dropped = [
        -(-room // step) * step >= size + pad
        for room, step, size, pad in zip(left, stride, value.shape[2:], padding, strict=True)
    ]
    if any(dropped):
        message = f"{described} has a window that begins in the padding, by ceil_mode: leave that out"
        raise ShapeError(message)
    cut = any(room % step for room, step in zip(left, stride, strict=True))
    if isinstance(pool, nn.AvgPool2d) and pool.count_include_pad and any(padding) and cut:
        message = f"{described} has padding and windows cut off by ceil_mode: use one of them"
        raise ShapeError(message)


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _embeddings(network: nn.Module, images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    weight = next(network.parameters(), torch.empty(0))
    shape = (1, 3, 1, 1)
    pixels = (images.permute(0, 3, 1, 2).float() - torch.tensor(mean).reshape(shape)) / torch.tensor(std).reshape(shape)
    training = [module for module in network.modules() if module.training]
    try:
        network.eval()
        result = network(pixels.contiguous().to(weight.dtype if weight.is_floating_point() else torch.float32))
    except Exception as error:  # of another's code
        place = line_of_error(error)
        message = (
            f"{type(network).__name__} fails on images of {tuple(images.shape[1:3])}{f' at {place}' if place else ''}: "
            f"{without_addresses(error)}; expected a network for such faces"
        )
        raise LoweringError(message) from error
    finally:
        for module in training:
            module.training = True
    embeddings = embedding_of(result, len(images))
    if embeddings is None:
        message = (
            f"expected embeddings of {type(network).__name__}, found {type(result).__name__}: return a tensor (N, d)"
        )
        raise LoweringError(message)
    return embeddings.float()
