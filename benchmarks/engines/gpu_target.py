"""Which targets run as engines on a GPU, and where a benchmark times them."""

from __future__ import annotations

import dataclasses

from efq.runtime.targets import targets


@dataclasses.dataclass(frozen=True, kw_only=True)
class GpuTarget:
    """Where engines are timed: one of `gpu_targets`, GPU `cuda:N`, whether to build an artifact's engine here."""

    name: str
    device: str = "cuda:0"
    rebuild: bool = False


def gpu_targets() -> tuple[str, ...]:
    """The names of the targets whose first device is no CPU."""
    return tuple(name for name, target in targets().items() if target.devices[0] != "cpu")
