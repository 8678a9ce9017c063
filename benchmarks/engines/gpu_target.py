"""Where a benchmark times engines."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class GpuTarget:
    """Where engines are timed: a TensorRT target, GPU `cuda:N`, whether to build an artifact's engine here."""

    name: str
    device: str = "cuda:0"
    rebuild: bool = False
