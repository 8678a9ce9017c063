"""How an engine is built: what a user chooses, and what the fingerprint of a plan records."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Self

from efq.runtime.errors import UsageError

_CAPABILITY = re.compile(r"\d{1,2}\.\d")
_HIGHEST_LEVEL = 5
_LARGEST_WORKSPACE = 2**20  # MiB
LARGEST_BATCH = 2**16


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
        self._check_types()
        if len(self.batches) != 3 or any(type(size) is not int for size in self.batches):
            message = f"expected three batch sizes, least, optimal and largest; found {self.batches!r}"
            raise UsageError(message)
        least, optimal, largest = self.batches
        if not 1 <= least <= optimal <= largest <= LARGEST_BATCH:
            message = (
                f"expected batch sizes 1 <= least <= optimal <= largest <= {LARGEST_BATCH}, found {least}, {optimal}, "
                f"{largest}"
            )
            raise UsageError(message)
        wrong = [value for value in self.compute_capabilities if not _CAPABILITY.fullmatch(value)]
        if wrong:
            message = f"expected compute capabilities such as 8.6 or 12.0, found {', '.join(wrong)}"
            raise UsageError(message)
        if self.workspace_mib is not None and not 1 <= self.workspace_mib <= _LARGEST_WORKSPACE:
            message = f"expected a workspace from 1 MiB to {_LARGEST_WORKSPACE}, found {self.workspace_mib}"
            raise UsageError(message)
        if self.level is not None and not 0 <= self.level <= _HIGHEST_LEVEL:
            message = f"expected a builder optimization level from 0 to {_HIGHEST_LEVEL}, found {self.level}"
            raise UsageError(message)

    def _check_types(self) -> None:
        whole = all(value is None or type(value) is int for value in (self.workspace_mib, self.level))
        flags = all(type(value) is bool for value in (self.version_compatible, self.hardware_compatible))
        texts = all(isinstance(value, str) for value in self.compute_capabilities)
        if not (whole and flags and texts):
            message = f"expected build options of the right types, found {self!r:.300}"
            raise UsageError(message)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = dataclasses.asdict(self)
        return values | {"batches": list(self.batches), "compute_capabilities": list(self.compute_capabilities)}

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """From plain values. Raises UsageError for unknown or missing keys, or values out of range."""
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            found = sorted(values) if isinstance(values, Mapping) else type(values).__name__
            message = f"expected the build options {sorted(names)}, found {found!r:.300}"
            raise UsageError(message)
        try:
            lists = {name: tuple(values[name]) for name in ("batches", "compute_capabilities")}
            return cls(**(dict(values) | lists))
        except TypeError as error:
            message = f"expected build options of the right types, found {dict(values)!r:.300}"
            raise UsageError(message) from error
