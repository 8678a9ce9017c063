"""Load a float checkpoint into the backbone whose keys it has."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efq.runtime.errors import CheckpointError, UsageError
from efq.toolchain.backbones.registry import Backbone, backbone_names, find_backbone
from efq.toolchain.backbones.torch_file import read_torch_file

_WRAPPERS = ("state_dict", "net_state_dict", "model_state_dict", "model", "backbone")
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


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


def shown(names: Iterable[object]) -> str:
    """The first few of a file's names, sorted and not too long to read."""
    texts = reprlib.Repr()
    texts.maxstring, texts.maxlist = 80, 4
    return texts.repr(sorted(map(str, names)))


def weights_of(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The state dict inside a checkpoint: unwrapped from the usual outer keys, without a "module." prefix."""
    for key in _WRAPPERS:
        inner = content.get(key)
        if isinstance(inner, Mapping):
            content = inner
            break
    named = [(str(key).removeprefix("module."), value) for key, value in content.items() if isinstance(value, Tensor)]
    weights = dict(named)
    if not weights:
        message = f"expected tensors by name in {path}, found the keys {shown(content)}"
        raise CheckpointError(message)
    if len(weights) < len(named):
        message = f"expected each name once in {path}, found some with and without 'module.': keep one of them"
        raise CheckpointError(message)
    return weights


def load_backbone(path: Path, name: str | None = None) -> tuple[Backbone, nn.Module]:
    """The backbone `name`, or the registered one whose keys and shapes fit, with the weights of `path`, in eval mode.

    Weights of other floating types become float32. Raises CheckpointError when nothing fits, naming the first
    differences, and for weights that are no finite floating numbers, UsageError for a factory that makes no network.
    """
    weights = weights_of(read_checkpoint(path), path)
    if name is not None:
        backbone = find_backbone(name)
        difference = _difference(backbone, weights)
        if difference is not None:
            message = f"{path} is not a {backbone.name}: {difference}; choose the network with --backbone"
            raise CheckpointError(message)
        return backbone, _fill(backbone, weights, path)
    for candidate in map(find_backbone, backbone_names()):
        if _difference(candidate, weights) is None:
            return candidate, _fill(candidate, weights, path)
    message = (
        f"{path} fits none of the known backbones ({', '.join(backbone_names())}); its first keys are "
        f"{shown(weights)}: name its network with --backbone package.module:factory"
    )
    raise CheckpointError(message)


def _difference(backbone: Backbone, weights: Mapping[str, Tensor]) -> str | None:
    """What keys and shapes differ from those of `backbone`; None where it fits."""
    expected = _shapes(backbone, weights)
    if expected is None:
        return "its tensors have other dimensions"
    counters = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - set(weights) - counters)
    unknown = sorted(set(weights) - set(expected))
    common = set(expected) & set(weights)
    shapes = sorted(key for key in common if expected[key] != tuple(weights[key].shape))
    if not missing and not unknown and not shapes:
        return None
    return f"missing {shown(missing)}, unknown {shown(unknown)}, of another shape {shown(shapes)}"


def _shapes(backbone: Backbone, weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]] | None:
    """Those of the network's tensors, which are not made; None where `weights` have no sizes to read off."""
    try:
        arguments = backbone.arguments_of(weights)
    except (LookupError, ValueError, TypeError, ArithmeticError):
        return None
    try:
        with torch.device("meta"):
            network = _build(backbone, arguments)
    except (RuntimeError, NotImplementedError, UsageError):  # a size that no tensor has, or a factory that computes
        if arguments:
            return None
        network = _build(backbone, arguments)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _build(backbone: Backbone, arguments: Mapping[str, Any]) -> nn.Module:
    """Raises UsageError for a factory that fails, or makes anything but a whole network."""
    try:
        network = backbone.build(**arguments)
    except (Exception, SystemExit) as error:  # of another's code
        message = f"expected {backbone.name} to make a network, found {type(error).__name__}: {error}; mend the factory"
        raise UsageError(message) from error
    if not isinstance(network, nn.Module):
        message = f"expected {backbone.name} to make an nn.Module, found {type(network).__name__}; name its factory"
        raise UsageError(message)
    for name, module in network.named_modules():
        if any(nn.parameter.is_lazy(value) for value in (*module._parameters.values(), *module._buffers.values())):
            message = f"layer {name!r} of {backbone.name} has no size yet ({type(module).__name__}): give it its sizes"
            raise UsageError(message)
    return network


def _fill(backbone: Backbone, weights: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The network with `weights`, which have its names and shapes."""
    network = _build(backbone, backbone.arguments_of(weights))
    expected = network.state_dict()
    network.load_state_dict(
        {name: _converted(name, value, expected[name].dtype, path) for name, value in weights.items()}, strict=False
    )
    return network.eval()


def _converted(name: str, value: Tensor, dtype: torch.dtype, path: Path) -> Tensor:
    """`value` as a network's tensor of `dtype`. Raises CheckpointError where that would be another number."""
    fits = value.dtype in _FLOATS if dtype.is_floating_point else value.dtype == dtype
    if not fits:
        message = f"expected {name} in {path} to be of {dtype}, found {value.dtype}: save the float network's weights"
        raise CheckpointError(message)
    converted = value.to(dtype)
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
