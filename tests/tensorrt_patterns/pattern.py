"""What a pattern is, and the list of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import onnx

# What the builder does: an error that holds `text`; a crash; the operator in a kernel of another type than int8; every
# convolution and matrix product in an int8 kernel.
Verdict = Literal["refused", "crash", "float", "int8"]
_USUAL: dict[str, Verdict] = {"refused": "refused", "fatal": "crash", "float": "float"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pattern:
    """A graph, all that the lint finds in it, and what the builder of TensorRT-RTX does with it."""

    name: str
    build: Callable[[], onnx.ModelProto]
    severity: str  # of the first finding; empty without one
    finds: tuple[str, ...]  # "rule node"
    remedy: str  # what the first finding's remedy names: a node, an operator, a type, a capability; empty where nothing
    verdict: Verdict
    text: str
    operator: str  # the node that runs in float
    capabilities: tuple[str, ...]  # "8.6"; none = the default of the lint, 8.6 for the builder


PATTERNS: list[Pattern] = []


def pattern(
    severity: str = "",
    *finds: str,
    remedy: str = "",
    verdict: Verdict | None = None,
    text: str = "",
    operator: str = "conv",
    capabilities: tuple[str, ...] = (),
) -> Callable[[Callable[[], onnx.ModelProto]], Callable[[], onnx.ModelProto]]:
    """Put a function that builds a graph on the list; the verdict is the severity's usual one unless given."""

    def register(build: Callable[[], onnx.ModelProto]) -> Callable[[], onnx.ModelProto]:
        PATTERNS.append(
            Pattern(
                name=build.__name__,
                build=build,
                severity=severity,
                finds=finds,
                remedy=remedy,
                verdict=verdict or _USUAL.get(severity, "int8"),
                text=text,
                operator=operator,
                capabilities=capabilities,
            )
        )
        return build

    return register
