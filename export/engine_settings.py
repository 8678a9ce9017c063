"""The engine of an export, for targets that build one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from efq.runtime.tensorrt.build.options import BuildOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Its options, whether to build it now, the timing cache and the GPU to build with where it has to be there."""

    options: BuildOptions = dataclasses.field(default_factory=BuildOptions)
    build: bool = True
    timing_cache: Path | None = None
    device: str = "cuda:0"
