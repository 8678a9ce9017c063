"""The content of a student file, checked before anything is made of it: the file may be anyone's."""

from __future__ import annotations

import math
import reprlib
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.training_data import NEAR_BYTES
from efq.toolchain.graph.description import build_graph
from efq.toolchain.graph.shapes import embedding_size
from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer

_LONGEST_TEXT = 10_000
_MOST_ENTRIES = 1_000_000
_HASH_BYTES = 8
_FAR = 1e300


def check_student_record(content: Mapping[str, Any]) -> None:
    """Check the types and ranges of every field but the graph, which checks itself.

    What a recipe and a contract hold is checked when they are made; here, that they are plain values of a bounded size.
    Raises ValueError naming a field that is missing or does not fit.
    """
    for field, (expected, fits) in _FIELDS.items():
        if field in _OPTIONAL and field not in content:
            continue
        if field not in content:
            message = f"expected {expected} as {field}, found nothing"
            raise ValueError(message)
        if not fits(content[field]):
            message = f"expected {expected} as {field}, found {reprlib.repr(content[field])}"
            raise ValueError(message)


def load_network(graph: Any, weights: Mapping[str, Tensor], contract: InputContract, size: int) -> fx.GraphModule:
    """The network of `graph` with its weights, in eval mode; it gives `size` numbers for an image of `contract`.

    Raises ValueError for a graph that is none or whose layers do not go together, weights that are not those of the
    graph, or scales that are not numbers above 0. No memory is taken for tensors that the file does not hold.
    """
    with torch.device("meta"):
        empty = build_graph(graph)
    wanted = {name: tuple(value.shape) for name, value in empty.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    different = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if different:
        name = different[0]
        message = f"expected {name} of shape {wanted.get(name)} among the weights, found {found.get(name)}"
        raise ValueError(message)
    given = embedding_size(empty, contract.height, contract.width)
    if given != size:
        message = f"expected a network that gives {size} numbers, as embedding_size says, found one that gives {given}"
        raise ValueError(message)
    network = build_graph(graph)
    network.load_state_dict(weights)
    for name, module in network.named_modules():
        if isinstance(module, ActivationQuantizer | WeightQuantizer):
            scale = module.scale.detach()
            if not bool((torch.isfinite(scale) & (scale > 0)).all()):
                message = f"expected scales of {name} above 0, found {scale.flatten()[:4].tolist()}"
                raise ValueError(message)
    return network.eval()


def _is_text(value: Any) -> bool:
    """Such as any terminal, JSON file or card may show: no half of a character, nothing that steers a terminal."""
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        return False
    return not any(unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t" for letter in value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 60


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _FAR and math.isfinite(value)


def _is_cosine(value: Any) -> bool:
    return _is_number(value) and -1.001 <= value <= 1.001


def _is_text_or_number(value: Any) -> bool:
    return _is_text(value) or _is_number(value)


def _are_plain(value: Any) -> bool:
    """Numbers, texts and what is made of them; the reader of the file has bounded how many and how deep."""
    if isinstance(value, dict):
        return all(_is_text(key) and _are_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_are_plain, value))
    return value is None or type(value) is bool or _is_text_or_number(value)


def _record_of(**fields: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A mapping with these keys, each with such a value."""
    return lambda value: (
        isinstance(value, dict) and set(value) == set(fields) and all(fits(value[key]) for key, fits in fields.items())
    )


def _mapping_to(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A mapping from names to such values."""
    return lambda value: (
        isinstance(value, dict)
        and len(value) <= _MOST_ENTRIES
        and all(_is_text(key) and fits(item) for key, item in value.items())
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_ENTRIES and all(map(_is_text, value))


def _are_weights(value: Any) -> bool:
    return _mapping_to(_is_plain_tensor)(value) and all(bool(torch.isfinite(tensor).all()) for tensor in value.values())


def _is_plain_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.dtype == torch.float32


def _hashes_of(width: int) -> Callable[[Any], bool]:
    """A uint8 tensor (N, width)."""

    def fits(value: Any) -> bool:
        plain = isinstance(value, Tensor) and value.layout == torch.strided and value.dtype == torch.uint8
        return plain and value.dim() == 2 and value.shape[1] == width and len(value) <= _MOST_ENTRIES

    return fits


_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "recipe": ("a table of plain values", lambda value: isinstance(value, dict) and _are_plain(value)),
    "contract": ("a table of plain values", lambda value: isinstance(value, dict) and _are_plain(value)),
    "backbone": ("text", _is_text),
    "embedding_size": ("a whole number above 0", lambda value: _is_count(value) and 0 < value <= 1 << 16),
    "teacher": ("name, sha256 and licence", _record_of(name=_is_text, sha256=_is_text, licence=_is_text)),
    "data": (
        "images, identities, sha256 and licence",
        _record_of(images=_is_count, identities=_is_count, sha256=_is_text, licence=_is_text),
    ),
    "activations": ("texts by name", _mapping_to(_is_text)),
    "training": ("texts and numbers by name", _mapping_to(_is_text_or_number)),
    "thresholds": ("cosines by name", _mapping_to(_is_cosine)),
    "notes": ("a list of texts", _are_texts),
    "weights": ("finite float32 tensors by name", _are_weights),
    "training_hashes": ("a uint8 tensor (N, 8)", _hashes_of(_HASH_BYTES)),
    "training_pixels": (
        "a scheme and a uint8 tensor (N, 8)",
        _record_of(scheme=_is_text, hashes=_hashes_of(_HASH_BYTES)),
    ),
    "training_near": (
        f"a scheme and a uint8 tensor (N, {NEAR_BYTES})",
        _record_of(scheme=_is_text, hashes=_hashes_of(NEAR_BYTES)),
    ),
}
_OPTIONAL = ("training_pixels", "training_near")  # older versions wrote none
