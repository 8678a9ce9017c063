"""A graph as a file holds it, checked before anything is built from it.

torch.fx writes Python code from the names of a graph and runs it, so a name that is no name would be code of whoever
made the file. What is not checked here must not reach `efq.toolchain.graph.description.build_graph`.
"""

from __future__ import annotations

import keyword
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx, nn

from efq.toolchain.graph.operations import Add, Concat, Maximum, Multiply, constructor_names

MOST_NODES = 20_000
_LONGEST_NAME = 200
_LARGEST = 1 << 20  # channels, features
_FAR = 1 << 30  # rows and columns of a crop without an end

_NODE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LAYER_NAME = re.compile(r"[\w -]+(\.[\w -]+)*")  # what cannot end a text in quotes, which fx writes it into
_RESERVED = frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph())))  # attributes of every network: no layer is one
_TWO_INPUTS, _MANY_INPUTS = (Add, Maximum, Multiply), (Concat,)


def check_graph_record(entries: Any, kinds: Mapping[str, type[nn.Module]]) -> None:
    """Check what `describe_graph` gives: nodes in order, each after its inputs, of `kinds` with arguments in range.

    Raises ValueError naming the first entry that does not fit.
    """
    if not isinstance(entries, list) or not 3 <= len(entries) <= MOST_NODES:
        found = f"{len(entries)} entries" if isinstance(entries, list) else type(entries).__name__
        message = f"expected a list of 3 to {MOST_NODES} nodes as the graph, found {found}"
        raise ValueError(message)
    known: set[str] = set()
    layers: dict[str, tuple[Any, Any]] = {}
    for place, entry in enumerate(entries):
        try:
            _check_entry(entry, kinds, known, is_first=place == 0, is_last=place == len(entries) - 1)
            _check_layer(entry, layers)
        except ValueError as error:
            message = f"node {place} of the graph: {error}"
            raise ValueError(message) from error
        known.add(entry["name"])
    _check_no_layer_inside_another(layers)


def check_layer_name(name: Any) -> None:
    """Raises ValueError for a name that a layer of a student cannot have."""
    _check_name(name, _LAYER_NAME)


def _check_entry(
    entry: Any, kinds: Mapping[str, type[nn.Module]], known: set[str], *, is_first: bool, is_last: bool
) -> None:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    structural = {"placeholder": is_first, "output": is_last}
    expected = {"name", "inputs", "kind"} | (set() if kind in structural else {"layer", "arguments"})
    if not isinstance(entry, dict) or set(entry) != expected:
        message = f"expected the keys {', '.join(sorted(expected))}, found {_short(entry)}"
        raise ValueError(message)
    _check_name(entry["name"], _NODE_NAME)
    if entry["name"] in known:
        message = f"expected a name of its own, found {entry['name']!r} again"
        raise ValueError(message)
    inputs = entry["inputs"]
    if not isinstance(inputs, list) or not all(isinstance(name, str) and name in known for name in inputs):
        message = f"expected names of nodes before it as inputs, found {_short(inputs)}"
        raise ValueError(message)
    if is_first != (kind == "placeholder") or is_last != (kind == "output"):
        message = f"expected the one placeholder first and the one output last, found {_short(kind)}"
        raise ValueError(message)
    if kind in structural:
        _check_count(inputs, 0 if is_first else 1)
        return
    if not isinstance(kind, str) or kind not in kinds:
        message = f"expected an operation, one of {', '.join(kinds)}; found {_short(kind)}"
        raise ValueError(message)
    _check_operation(kinds[kind], inputs, entry["arguments"])


def _check_operation(kind: type[nn.Module], inputs: Sequence[str], arguments: Any) -> None:
    if kind in _MANY_INPUTS:
        if not inputs:
            message = "expected inputs to concatenate, found none"
            raise ValueError(message)
    else:
        _check_count(inputs, 2 if kind in _TWO_INPUTS else 1)
    names = constructor_names(kind)
    if not isinstance(arguments, dict) or set(arguments) != set(names):
        message = f"expected the arguments {', '.join(names) or '(none)'} of {kind.__name__}, found {_short(arguments)}"
        raise ValueError(message)
    for name, value in arguments.items():
        if not _ARGUMENTS[name](value):
            message = f"expected {name} of {kind.__name__} in its range, found {_short(value)}"
            raise ValueError(message)


def _check_layer(entry: Mapping[str, Any], layers: dict[str, tuple[Any, Any]]) -> None:
    """A layer that is called twice is one operation."""
    if "layer" not in entry:
        return
    check_layer_name(entry["layer"])
    operation = (entry["kind"], entry["arguments"])
    if layers.setdefault(entry["layer"], operation) != operation:
        message = f"expected one operation for the layer {entry['layer']!r}, found two"
        raise ValueError(message)


def _check_no_layer_inside_another(layers: Mapping[str, object]) -> None:
    for name in layers:
        parts = name.split(".")
        outer = next((outer for end in range(1, len(parts)) if (outer := ".".join(parts[:end])) in layers), None)
        if outer is not None:
            message = f"expected the layer {name!r} outside of others, found it inside {outer!r}"
            raise ValueError(message)


def _check_name(name: Any, grammar: re.Pattern[str]) -> None:
    fits = isinstance(name, str) and len(name) <= _LONGEST_NAME and grammar.fullmatch(name)
    if not fits or any(keyword.iskeyword(part) or part in _RESERVED for part in name.split(".")):
        message = f"expected a name of letters, digits and underscores that no network has, found {_short(name)}"
        raise ValueError(message)


def _check_count(inputs: Sequence[str], count: int) -> None:
    if len(inputs) != count:
        message = f"expected {count} inputs, found {len(inputs)}"
        raise ValueError(message)


def _short(value: Any) -> str:
    return reprlib.repr(value)


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _pair(low: int, high: int) -> Callable[[Any], bool]:
    """One whole number, or one for rows and one for columns."""
    inside = _whole(low, high)
    return lambda value: inside(value) or (isinstance(value, list) and len(value) == 2 and all(map(inside, value)))


def _flag(value: Any) -> bool:
    return type(value) is bool


def _bits_or_none(value: Any) -> bool:
    return value is None or _whole(2, 8)(value)


def _bound_or_none(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 < value < _FAR)


def _channels(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= _LARGEST and all(map(_whole(0, _LARGEST - 1), value))


_COUNT, _SIZE, _EDGE = _whole(1, _LARGEST), _pair(1, 4096), _whole(-_FAR, _FAR)

_ARGUMENTS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("in_channels", "out_channels", "groups"), _COUNT),
    **dict.fromkeys(("in_features", "out_features", "num_parameters"), _COUNT),
    **dict.fromkeys(("kernel_size", "stride", "dilation"), _SIZE),
    "padding": _pair(0, 4096),
    **dict.fromkeys(("top", "bottom", "left", "right"), _EDGE),
    **dict.fromkeys(("above", "below", "before", "behind"), _whole(0, 4096)),
    "channels": lambda value: _COUNT(value) or _channels(value),
    "approximate": lambda value: value in ("none", "tanh"),
    **dict.fromkeys(("has_bias", "signed", "learn_zero_point", "ceil_mode", "count_include_pad"), _flag),
    "bits": _whole(2, 8),
    "weight_bits": _bits_or_none,
    "upper_bound": _bound_or_none,
}
