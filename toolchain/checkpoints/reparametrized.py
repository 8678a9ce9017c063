"""Weights that a network computes from others: pruned by a mask, or of a direction and a length (weight norm).

Weight normalization: Salimans and Kingma 2016 (arXiv 1602.07868), w = g v / |v|, the norm over all but one axis.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from efq.toolchain.checkpoints.weights_file import StoredTensor

_PRUNED = re.compile(r"(.*)_orig")  # torch.nn.utils.prune
_NORMED = re.compile(r"(.*)_v")  # torch.nn.utils.weight_norm
_PARAMETRIZED = re.compile(r"(.*?)parametrizations\.([^.]+)\.original1")  # torch.nn.utils.parametrizations.weight_norm
_COMPUTED = (
    (
        re.compile(r".*parametrizations\..*"),
        "call torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') on its layers before saving",
    ),
    (re.compile(r".*weight_u"), "call torch.nn.utils.remove_spectral_norm(layer) on its layers before saving"),
    (re.compile(r".*_packed_params(\..*)?"), "save the float network, as it was before torch.ao's convert"),
)


def resolved(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """`tensors` and the weights that pruning and weight norm compute from some of them."""
    found = dict(tensors)
    for name in tensors:
        for target, sources, combine in _candidates(name):
            if target not in tensors and all(source in tensors for source in sources):
                _replace(found, target, sources, combine)
    return found


def how_to_save(names: Iterable[str]) -> str:
    """What to do where weights are computed in a way that is not known here; "" where none are."""
    listed = list(names)
    for pattern, advice in _COMPUTED:
        example = next((name for name in listed if pattern.fullmatch(name)), None)
        if example is not None:
            return f"{example[:100]} is what a weight is computed from: {advice}"
    return ""


def _candidates(name: str) -> list[tuple[str, tuple[str, str], str]]:
    found = []
    if match := _PRUNED.fullmatch(name):
        found.append((match[1], (name, f"{match[1]}_mask"), "mask"))
    if match := _NORMED.fullmatch(name):
        found.append((match[1], (f"{match[1]}_g", name), "norm"))
    if match := _PARAMETRIZED.fullmatch(name):
        found.append((f"{match[1]}{match[2]}", (name.removesuffix("1") + "0", name), "norm"))
    return found


def _replace(found: dict[str, StoredTensor], target: str, sources: tuple[str, str], combine: str) -> None:
    first, second = (found.get(source) for source in sources)
    if first is None or second is None:
        return
    if combine == "mask" and first.shape == second.shape:
        found[target] = StoredTensor(shape=first.shape, sources=sources, combine=torch.mul, spare=True)
    elif combine == "norm" and (axes := _axes(first.shape, second.shape)) is not None:
        found[target] = StoredTensor(
            shape=second.shape, sources=sources, combine=functools.partial(_of_length, axes=axes), spare=True
        )
    else:
        return
    for source in sources:
        found[source] = dataclasses.replace(found[source], spare=True)


def _axes(lengths: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Those the norm goes over; None for lengths that are none of weights of `shape`."""
    if not lengths:
        return tuple(range(len(shape)))
    kept = [axis for axis, size in enumerate(lengths) if size != 1]
    fits = len(lengths) == len(shape) and len(kept) <= 1 and all(lengths[axis] == shape[axis] for axis in kept)
    return tuple(axis for axis in range(len(shape)) if axis not in (kept or [0])) if fits else None


def _of_length(lengths: Tensor, directions: Tensor, *, axes: tuple[int, ...]) -> Tensor:
    found: Tensor = directions * (lengths / torch.linalg.vector_norm(directions, dim=axes, keepdim=True))
    return found
