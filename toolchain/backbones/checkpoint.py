"""Load a float checkpoint into the backbone whose keys it has."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efq.runtime.errors import CheckpointError
from efq.toolchain.backbones.registry import Backbone, backbone_names, find_backbone

_FIRST_BYTES = (b"PK", b"\x80")  # of a zip archive, which torch.save writes, and of a pickle, which it wrote before
_WRAPPERS = ("state_dict", "net_state_dict", "model_state_dict", "model", "backbone")


def looks_like_checkpoint(path: Path) -> bool:
    """Whether `path` is a file that begins as torch's do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(2).startswith(_FIRST_BYTES)


def read_checkpoint(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """The dictionary in a torch file, tensors on the CPU, without unpickling code (weights_only).

    With `mapped` the tensors stay in the file until they are used, where its format allows it: to look at the rest.
    Raises CheckpointError when the file is missing, truncated, or holds anything but plain values and tensors.
    """
    if not path.is_file():
        message = f"expected a checkpoint file, found nothing at {path}: check the path"
        raise CheckpointError(message)
    try:
        lazy = mapped and zipfile.is_zipfile(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=lazy)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        message = (
            f"cannot read {path} as a torch checkpoint of plain tensors ({reason}): "
            "expected a file written by torch.save(model.state_dict(), path)"
        )
        raise CheckpointError(message) from error
    if not isinstance(content, Mapping):
        message = f"expected a state dict in {path}, found {type(content).__name__}: save model.state_dict()"
        raise CheckpointError(message)
    return dict(content)


def weights_of(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The state dict inside a checkpoint: unwrapped from the usual outer keys, without a "module." prefix."""
    for key in _WRAPPERS:
        inner = content.get(key)
        if isinstance(inner, Mapping):
            content = inner
            break
    weights = {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        message = f"expected tensors by name in {path}, found the keys {sorted(map(str, content))[:5]}"
        raise CheckpointError(message)
    return weights


def load_backbone(path: Path, name: str | None = None) -> tuple[Backbone, nn.Module]:
    """The backbone `name`, or the registered one whose keys and shapes fit, with the weights of `path`, in eval mode.

    Raises CheckpointError when nothing fits, naming the first differences.
    """
    weights = weights_of(read_checkpoint(path), path)
    if name is not None:
        backbone = find_backbone(name)
        return backbone, _fill(backbone, weights, path)
    for candidate in backbone_names():
        backbone = find_backbone(candidate)
        try:
            return backbone, _fill(backbone, weights, path)
        except CheckpointError:
            continue
    message = (
        f"{path} fits none of the known backbones ({', '.join(backbone_names())}); its first keys are "
        f"{sorted(weights)[:4]}: name its network with --backbone package.module:factory"
    )
    raise CheckpointError(message)


def _fill(backbone: Backbone, weights: dict[str, Tensor], path: Path) -> nn.Module:
    arguments = backbone.arguments_of(weights)
    with torch.device("meta"):
        expected = backbone.build(**arguments).state_dict()
    counters = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - set(weights) - counters)
    unknown = sorted(set(weights) - set(expected))
    shapes = sorted(key for key in set(expected) & set(weights) if expected[key].shape != weights[key].shape)
    if missing or unknown or shapes:
        message = (
            f"{path} is not a {backbone.name}: missing {missing[:3]}, unknown {unknown[:3]}, of another shape "
            f"{shapes[:3]}; choose the network with --backbone"
        )
        raise CheckpointError(message)
    network = backbone.build(**arguments)
    network.load_state_dict(weights, strict=False)
    return network.eval()
