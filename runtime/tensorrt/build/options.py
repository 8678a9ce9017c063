"""How an engine is built: what a user chooses, and what the fingerprint of a plan records."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Self

from efq.runtime.errors import UsageError

_CAPABILITY = re.compile(r"\d{1,2}\.\d")
_HIGHEST_LEVEL = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Options of one engine.

    batches: least, optimal and largest batch size of the optimization profile.
    compute_capabilities: of the GPUs an engine built ahead of time is for ("8.6", "12.0"); empty means every GPU the
    package supports (`trt-rtx`), or the GPU of this machine (`trt`).
    workspace_mib: the most scratch memory a kernel may take, MiB. level: builder_optimization_level, 0 to 5. None
    leaves either to TensorRT.
    version_compatible: a later TensorRT may load the engine, at some cost in speed; its plan then carries code, so that
    only trusted plans may be loaded. hardware_compatible: any GPU from Ampere on may load it, at some cost in speed.
    Raises UsageError for values out of range.
    """

    batches: tuple[int, int, int] = (1, 8, 64)
    compute_capabilities: tuple[str, ...] = ()
    workspace_mib: int | None = None
    level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False

    def __post_init__(self) -> None:
        if len(self.batches) != 3 or any(type(size) is not int for size in self.batches):
            message = f"expected three batch sizes, least, optimal and largest; found {self.batches!r}"
            raise UsageError(message)
        least, optimal, largest = self.batches
        if not 1 <= least <= optimal <= largest:
            message = f"expected batch sizes 1 <= least <= optimal <= largest, found {least}, {optimal}, {largest}"
            raise UsageError(message)
        wrong = [value for value in self.compute_capabilities if not _CAPABILITY.fullmatch(value)]
        if wrong:
            message = f"expected compute capabilities such as 8.6 or 12.0, found {', '.join(wrong)}"
            raise UsageError(message)
        if self.workspace_mib is not None and self.workspace_mib < 1:
            message = f"expected a workspace of at least 1 MiB, found {self.workspace_mib}"
            raise UsageError(message)
        if self.level is not None and not 0 <= self.level <= _HIGHEST_LEVEL:
            message = f"expected a builder optimization level from 0 to {_HIGHEST_LEVEL}, found {self.level}"
            raise UsageError(message)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = dataclasses.asdict(self)
        return values | {"batches": list(self.batches), "compute_capabilities": list(self.compute_capabilities)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From plain values. Raises UsageError for unknown or missing keys, or values out of range."""
        names = {field.name for field in dataclasses.fields(cls)}
        if set(values) != names:
            message = f"expected the build options {sorted(names)}, found {sorted(values)}"
            raise UsageError(message)
        try:
            lists = {name: tuple(values[name]) for name in ("batches", "compute_capabilities")}
            return cls(**(dict(values) | lists))
        except TypeError as error:
            message = f"expected build options of the right types, found {dict(values)}"
            raise UsageError(message) from error
