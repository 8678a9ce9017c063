"""What a lint rule reports."""

from __future__ import annotations

import dataclasses
import enum


class Severity(enum.StrEnum):
    """What TensorRT does with a pattern."""

    REFUSED = "refused"  # the parser or the builder ends with an error
    FATAL = "fatal"  # the builder crashes, or the engine computes wrong numbers
    FLOAT = "float"  # a quantized operator silently runs in a float kernel
    CLIPPED = "clipped"  # values are silently clipped, rounded away or not finite
    SLOW = "slow"  # it works, with extra kernels or rounding steps

    @property
    def blocks(self) -> bool:
        """Whether a graph with such a finding must not be built."""
        return self is not Severity.SLOW


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One pattern found at one node; `str()` gives it in one line."""

    rule: str  # the rule's name, such as "zero-point-not-zero"
    severity: Severity
    node: str  # the node's name, or its operator and output when it has none; an input's or initializer's name
    expected: str
    found: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.severity} [{self.rule}] {self.node}"
        return f"{place}: expected {self.expected}; found {self.found}; to do: {self.remedy}"
