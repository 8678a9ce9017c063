"""Load the weights in a file into the network whose names they have."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efq.runtime.errors import CheckpointError, UsageError
from efq.toolchain.backbones.building import build, fill, meta_shapes, shapes_of
from efq.toolchain.backbones.registry import Backbone, backbone_names, backbones_by_keys, find_backbone
from efq.toolchain.checkpoints.choice import Chosen, choose
from efq.toolchain.checkpoints.fit import Fit, Shapes, first_of, fits_of, left_out, shown
from efq.toolchain.checkpoints.reparametrized import how_to_save, resolved
from efq.toolchain.checkpoints.torch_file import read_torch_file
from efq.toolchain.checkpoints.weights_file import StoredTensor, WeightsFile, open_weights

_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_CLOSEST = 3
_LEAST_SHARE = 0.3  # of a network's names that are there, where a file may be of any network

_Looked = tuple[Backbone, list[Fit]]

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedBackbone:
    """A network with the weights of a file, in eval mode.

    notes: where in the file they were, and what was left out; doubts: those of them that may be a mistake.
    texts: of the file's metadata or beside its weights.
    """

    backbone: Backbone
    network: nn.Module
    place: str
    notes: tuple[str, ...]
    doubts: tuple[str, ...]
    texts: Mapping[str, str]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dictionary in a torch file, tensors on the CPU; no code of the file runs.

    Raises CheckpointError when the file is missing, of another format, damaged, or holds anything but plain values and
    dense tensors.
    """
    content = read_torch_file(path)
    if not isinstance(content, Mapping):
        message = f"expected a state dict in {path}, found {type(content).__name__}: save model.state_dict()"
        raise CheckpointError(message)
    return dict(content)


def load_backbone(path: Path, name: str | None = None) -> tuple[Backbone, nn.Module]:
    """`open_backbone`'s backbone and network."""
    loaded = open_backbone(path, name)
    return loaded.backbone, loaded.network


def open_backbone(path: Path, name: str | None = None) -> LoadedBackbone:
    """The backbone `name`, or the registered one whose names and shapes fit, with the weights of the file `path`.

    The weights may be in any dicts and behind any prefix. Where a file has several that differ, averaged ones (EMA) are
    taken; `name` chooses others: "iresnet50@model", or "@model" for the network that fits. Weights of other floating
    types become float32. Raises CheckpointError when nothing fits, naming the first differences, and for weights that
    are no finite floating numbers or all of one value, UsageError for a factory that makes no network.
    """
    network_name, chosen, place = (name or "").partition("@")
    backbone = find_backbone(network_name) if network_name else None
    file = open_weights(path)
    file = dataclasses.replace(file, tensors=resolved(file.tensors))
    _require_tensors(file)
    wanted = place if chosen else None
    loaded = _recognized(file, wanted) if backbone is None else _named(backbone, file, wanted)
    for note in loaded.notes:
        log = _logger.warning if note in loaded.doubts else _logger.info
        log("%s: %s", path, note)
    return loaded


def _named(backbone: Backbone, file: WeightsFile, wanted: str | None) -> LoadedBackbone:
    made = build(backbone, {}) if ":" in backbone.name else None
    fits = _fits(backbone, file, made)
    if fits and fits[0].fits:
        return _loaded(backbone, choose(fits, file, wanted=wanted), file, made)
    found = str(fits[0]) if fits else f"its names begin with {first_of(list(file.tensors))}"
    message = f"{file.path} does not hold the weights of {backbone.name}: {found}. {_advice(file)}{_others(file)}"
    raise CheckpointError(message)


def _others(file: WeightsFile) -> str:
    """Which registered network its weights are of instead."""
    backbones = map(find_backbone, backbone_names())
    fits = [(backbone.name, _fits(backbone, file, least_share=_LEAST_SHARE)) for backbone in backbones]
    names = [name for name, found in fits if found and found[0].fits]
    if names:
        return f"It holds those of {names[0]}"
    return "Give the code of its own network with --backbone package.module:factory"


def _recognized(file: WeightsFile, wanted: str | None) -> LoadedBackbone:
    """Of the registered networks that fit, the one that leaves least out; those with telling names are tried first."""
    likely = backbones_by_keys(file.tensors)
    others = tuple(backbone for backbone in map(find_backbone, backbone_names()) if backbone not in likely)
    looked: list[_Looked] = []
    for backbones in (likely, others):
        found = _looked_at(backbones, file)
        fitting = [(backbone, fits) for backbone, fits in found if fits[0].fits]
        if fitting:
            backbone, fits = _least_left_out(fitting, file)
            loaded = _loaded(backbone, choose(fits, file, wanted=wanted), file)
            return dataclasses.replace(loaded, notes=(*loaded.notes, *_also(backbone, likely)))
        looked += found
    looked.sort(key=lambda pair: -pair[1][0].share)
    closest = [f"{backbone.name} ({fits[0]})" for backbone, fits in looked[:_CLOSEST]]
    message = (
        f"{file.path} has the weights of none of the networks that EFQ knows ({', '.join(backbone_names())}); "
        + (f"closest: {'; '.join(closest)}" if closest else f"its names begin with {first_of(list(file.tensors))}")
        + f". {_advice(file)}For any other network give its code, with --backbone package.module:factory"
    )
    raise CheckpointError(message)


def _looked_at(backbones: Iterable[Backbone], file: WeightsFile) -> list[_Looked]:
    """Each with its fits, where there are any; up to the first that leaves nothing out."""
    looked = []
    for backbone in backbones:
        fits = _fits(backbone, file, least_share=_LEAST_SHARE)
        if fits:
            looked.append((backbone, fits))
            if fits[0].fits and not fits[0].left_out and not backbone.by_name_only:
                break
    return looked


def _least_left_out(fitting: Sequence[_Looked], file: WeightsFile) -> _Looked:
    """Raises CheckpointError where those that fit compute otherwise, and none of them is the usual one."""
    usual = [pair for pair in fitting if not pair[0].by_name_only]
    if not usual:
        names = " and ".join(backbone.name for backbone, _ in fitting)
        message = (
            f"expected a network that its weights tell, found in {file.path} those of {names}: name the one it is with "
            "--backbone"
        )
        raise CheckpointError(message)
    return min(usual, key=lambda pair: len(pair[1][0].left_out))


def _also(backbone: Backbone, likely: Iterable[Backbone]) -> list[str]:
    """What to say of networks whose weights have the same names, and that compute otherwise."""
    others = [other.name for other in likely if other.by_name_only and other.keys == backbone.keys]
    return [f"taken as {backbone.name}; --backbone {name} has weights of these names, too" for name in others]


def _fits(
    backbone: Backbone, file: WeightsFile, made: nn.Module | None = None, *, least_share: float = 0.0
) -> list[Fit]:
    if made is not None:
        shapes = shapes_of(made)
        return fits_of(file.tensors, shapes, lambda _: shapes)
    return fits_of(
        file.tensors, _usual_names(backbone), functools.partial(_shapes_at, backbone), least_share=least_share
    )


@functools.cache
def _usual_names(backbone: Backbone) -> frozenset[str]:
    return frozenset(meta_shapes(backbone, {}))


def _shapes_at(backbone: Backbone, tensors: Mapping[str, StoredTensor]) -> Shapes | None:
    """Of the network with the sizes that `tensors` tell; None where they tell none."""
    try:
        return meta_shapes(backbone, _arguments(backbone, tensors))
    except (LookupError, ValueError, TypeError, ArithmeticError, RuntimeError, NotImplementedError, UsageError):
        return None


def _arguments(backbone: Backbone, tensors: Mapping[str, StoredTensor]) -> dict[str, Any]:
    return backbone.arguments_of({name: stored.meta for name, stored in tensors.items()})


def _loaded(backbone: Backbone, chosen: Chosen, file: WeightsFile, made: nn.Module | None = None) -> LoadedBackbone:
    tensors = {name: file.tensors[original] for name, original in chosen.fit.names.items()}
    network = made if made is not None else _empty(backbone, _arguments(backbone, tensors))
    expected = network.state_dict()
    weights = {name: _converted(name, value, expected[name].dtype, file.path) for name, value in chosen.weights.items()}
    fill(network, weights, backbone.name)
    notes = (*_where(chosen.fit, file), *chosen.notes)
    return LoadedBackbone(
        backbone=backbone,
        network=network.eval(),
        place=chosen.fit.place,
        notes=notes,
        doubts=chosen.notes,
        texts=file.texts,
    )


def _empty(backbone: Backbone, arguments: Mapping[str, Any]) -> nn.Module:
    """A registered network to be filled: made without memory for random numbers, where its code allows that."""
    try:
        with torch.device("meta"):
            network = backbone.build(**arguments)
    except Exception:  # code that computes with its numbers
        return build(backbone, arguments)
    kept = set(network.state_dict())
    return network if all(name in kept for name, _ in network.named_buffers()) else build(backbone, arguments)


def _converted(name: str, value: Tensor, dtype: torch.dtype, path: Path) -> Tensor:
    """`value` as a network's tensor of `dtype`. Raises CheckpointError where that would be another number."""
    fits = value.dtype in _FLOATS if dtype.is_floating_point else value.dtype == dtype
    if not fits:
        message = f"expected {name} in {path} to be of {dtype}, found {value.dtype}: save the float network's weights"
        raise CheckpointError(message)
    converted = value.to(dtype).contiguous()
    if not value.numel():
        message = f"expected numbers as {name} in {path}, found a tensor of {tuple(value.shape)}"
        raise CheckpointError(message)
    if not bool(torch.isfinite(converted).all()):
        message = f"expected finite numbers as {name} in {path}, found NaN or infinity: its training went wrong"
        raise CheckpointError(message)
    if name.endswith("running_var") and bool((converted < 0).any()):
        message = f"expected variances as {name} in {path}, found {float(converted.min()):g}: the file is damaged"
        raise CheckpointError(message)
    return converted


def _where(fit: Fit, file: WeightsFile) -> list[str]:
    """What to say of a network whose weights were found under other names, or beside others."""
    notes = [] if file.format == "torch" else [f"a file of {file.format}"]
    if fit.place:
        notes.append(f"the weights are those under {fit.place!r}")
    if fit.own_prefix:
        notes.append(f"{fit.own_prefix!r} of the network's own names is not in the file")
    if others := left_out(fit, file.tensors):
        notes.append(f"left out: {first_of(others)}")
    return notes


def _advice(file: WeightsFile) -> str:
    """What else the file shows of how it was saved."""
    quantized = next((name for name, stored in file.tensors.items() if stored.kind == "quantized"), None)
    if quantized is not None:
        return f"{quantized[:80]} is quantized: save the float network, as it was before that. "
    computed = how_to_save(file.tensors)
    return f"{computed}. " if computed else ""


def _require_tensors(file: WeightsFile) -> None:
    """Raises CheckpointError for a file without tensors by name, saying what it holds instead."""
    if file.tensors and "" not in file.tensors:
        return
    if file.modules:
        place, name = next(iter(file.modules.items()))
        key = f"[{place!r}]" if place else ""
        where = f" under {place!r}" if place else ""
        message = (
            f"{file.path} holds a whole network, an object of {name[:100]}{where}, which would be code: where you "
            "trust it and have its code, save its weights with "
            f"m = torch.load(file, weights_only=False){key}; torch.save(m.state_dict(), 'weights.pt')"
        )
    else:
        code = f" (with {file.foreign[0]})" if file.foreign else ""
        message = f"expected tensors by name in {file.path}, found {shown(file.keys)}{code}: save model.state_dict()"
    raise CheckpointError(message)
