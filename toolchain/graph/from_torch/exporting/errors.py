"""What went wrong in a network's own code while it was followed, in words: the layer, the line and the reason."""

from __future__ import annotations

import re
from types import TracebackType

from torch import Tensor, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.source_lines import line_of_error, without_addresses

_OF_NUMBERS = ("data-dependent", "SymInt", "SymFloat", "SymBool", "FakeTensor", "tensor subclass", "Proxy", "u0")


def refusal(network: nn.Module, error: Exception, batch: int) -> LoweringError:
    """The error for a `network` that raised `error` on `batch` images that have a size and no numbers."""
    if isinstance(error, LoweringError):
        return error
    place = line_of_error(error)
    at = f" at {place}" if place else ""
    text = f"{type(error).__name__}: {without_addresses(error)}"
    if any(word in f"{text} {error}" for word in _OF_NUMBERS):
        return LoweringError(
            f"cannot trace {type(network).__name__}{at}: it decides or computes by a tensor's values; expected a "
            "feed-forward network, whose if, for, float() and numpy() do not depend on its input's numbers"
        )
    reason = re.sub(rf"\b{batch}\b", "N", text)
    name, module, shape = _layer_in(network, error, batch)
    if name and shape is not None:
        described = f"layer {name!r} ({type(module).__name__}) cannot read a tensor of {(1, *shape)}"
        return LoweringError(f"{described}{at}: {reason}; expected layers whose sizes go together")
    return LoweringError(f"cannot trace {type(network).__name__}{at}: {reason}; expected a feed-forward network")


def _layer_in(network: nn.Module, error: Exception, batch: int) -> tuple[str, nn.Module | None, tuple[int, ...] | None]:
    """Name of the innermost layer that was called when `error` was raised, the layer, and one image's shape of its
    input."""
    names = {id(module): name for name, module in network.named_modules()}
    found: tuple[str, nn.Module | None, tuple[int, ...] | None] = ("", None, None)
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        values = traceback.tb_frame.f_locals
        module = values.get("self")
        if isinstance(module, nn.Module) and id(module) in names and traceback.tb_frame.f_code.co_name == "forward":
            tensors = [value for name, value in values.items() if isinstance(value, Tensor) and value.dim()]
            shape = tuple(tensors[0].shape[1:]) if tensors and len(tensors[0]) == batch else None
            found = names[id(module)], module, shape
        traceback = traceback.tb_next
    return found
