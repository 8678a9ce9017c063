"""What a benchmark of engines found beside its host-to-host latency: GPU time, memory, and the GPU it was found on."""

from __future__ import annotations

import dataclasses

UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GpuMachine:
    """The GPU and what drives it, in words ("1980 MHz", "700.00 W"); "unknown" is what nobody tells.

    `cuda`: version the driver serves; `cuda_runtime`: that of `cuda_package`, through which EFQ reaches the GPU.
    """

    name: str
    compute_capability: str
    memory_gib: float
    cuda: str
    cuda_runtime: str
    cuda_package: str
    tensorrt: str
    driver: str
    power_limit: str
    max_sm_clock: str
    max_memory_clock: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GpuClocks:
    """Clocks of the multiprocessors and of the memory at one moment, in words ("1980 MHz")."""

    sm: str
    memory: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GpuTime:
    """GPU time of one engine at one batch size: quartiles in milliseconds a batch over `rounds` runs.

    `images_per_second`: batch size divided by the mean GPU time, what the GPU could do if nothing else took time.
    """

    network: str
    batch: int
    rounds: int
    p25_ms: float
    p50_ms: float
    p75_ms: float
    images_per_second: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GpuSetting:
    """All engines' GPU time at one batch size, and the clocks right after the last run."""

    batch: int
    clocks: GpuClocks
    networks: tuple[GpuTime, ...]

    def of(self, network: str) -> GpuTime:
        """The time of one engine."""
        return next(time for time in self.networks if time.network == network)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EngineRecord:
    """One engine. `precision`: "int8" for an artifact, else "float16" or "float32".

    `plan_bytes`: size of the plan; `device_bytes`: GPU memory that opening it and running the largest batch took;
    `products`: in what its convolutions and matrix products multiply.
    """

    network: str
    precision: str
    plan_bytes: int
    device_bytes: int
    products: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GpuResults:
    """The engines of one benchmark and their times."""

    machine: GpuMachine
    engines: tuple[EngineRecord, ...]
    settings: tuple[GpuSetting, ...]

    def findings(self, setting: GpuSetting) -> tuple[str, ...]:
        """Whether each int8 engine is faster than the float16 engine at one batch size, a sentence each."""
        return tuple(
            _compared(setting.of(integer), setting.of(half))
            for half in self._networks("float16")
            for integer in self._networks("int8")
        )

    def _networks(self, precision: str) -> list[str]:
        return [engine.network for engine in self.engines if engine.precision == precision]


def _compared(integer: GpuTime, half: GpuTime) -> str:
    times = f"{integer.p50_ms:.3f} ms of GPU time against {half.p50_ms:.3f} ms"
    if integer.p50_ms > half.p50_ms:
        return (
            f"**INT8 is slower than FP16** at batch {integer.batch}: {integer.network} takes {times} of {half.network} "
            f"({integer.p50_ms / half.p50_ms:.2f} times as long). Look for reformats and float layers in the "
            "artifact's engine/build.log."
        )
    return (
        f"INT8 is {half.p50_ms / integer.p50_ms:.2f} times as fast as FP16 at batch {integer.batch}: "
        f"{integer.network} takes {times} of {half.network}."
    )
