"""The GPU's part of a report."""

from __future__ import annotations

from efq.benchmarks.engines.gpu_results import GpuMachine, GpuResults, GpuSetting
from efq.benchmarks.report.markdown import table

HOST_TO_HOST = (
    "Host to host: uint8 images in host memory to unit-length embeddings in host memory, called from one thread. All "
    "engines in turn in one run, the order rotated every round, other images every round; each is called twice, the "
    "second time timed. Speed-up: median over rounds of the time of {} divided by the engine's own time in the same "
    "round, with the quartiles of that ratio. Times are milliseconds a batch."
)

_GPU_TIME = (
    "CUDA events around one inference on images that are on the GPU already, the GPU idle before, in turn as above. "
    "Milliseconds a batch; images/s is what the GPU would do if nothing else took time."
)
_MEMORY = "GPU memory: what opening the engine and running the largest batch took of what was free."


def gpu_sections(results: GpuResults) -> list[str]:
    """Paragraphs and tables: the GPU, time by CUDA events with whether INT8 is faster than FP16, memory."""
    sections = ["## GPU", table(("", ""), _machine_rows(results.machine)), "### GPU time", _GPU_TIME]
    for setting in results.settings:
        sections += [f"#### batch {setting.batch}", _time_table(results, setting), _clocks(results.machine, setting)]
        sections += results.findings(setting)
    return [*sections, "### Engines", _MEMORY, _engine_table(results)]


def _machine_rows(machine: GpuMachine) -> list[tuple[str, str]]:
    return [
        ("GPU", f"{machine.name}, compute capability {machine.compute_capability}, {machine.memory_gib:g} GiB"),
        ("driver", f"{machine.driver}, serves CUDA {machine.cuda}"),
        ("packages", f"{machine.tensorrt}, {machine.cuda_package} (CUDA {machine.cuda_runtime})"),
        ("power limit", machine.power_limit),
        ("highest clocks", f"multiprocessors {machine.max_sm_clock}, memory {machine.max_memory_clock}"),
    ]


def _time_table(results: GpuResults, setting: GpuSetting) -> str:
    header = ("engine", "type", "median, ms", "quartiles, ms", "images/s", "rounds")
    precisions = {engine.network: engine.precision for engine in results.engines}
    rows = [
        (
            time.network,
            precisions[time.network],
            f"{time.p50_ms:.3f}",
            f"{time.p25_ms:.3f} to {time.p75_ms:.3f}",
            f"{time.images_per_second:.0f}",
            str(time.rounds),
        )
        for time in sorted(setting.networks, key=lambda time: time.p50_ms)
    ]
    return table(header, rows)


def _clocks(machine: GpuMachine, setting: GpuSetting) -> str:
    clocks = setting.clocks
    return (
        f"Clocks right after: multiprocessors {clocks.sm} (highest {machine.max_sm_clock}), memory {clocks.memory} "
        f"(highest {machine.max_memory_clock})."
    )


def _engine_table(results: GpuResults) -> str:
    header = ("engine", "type", "GPU memory, MiB", "plan, MB (10^6 bytes)", "convolutions and matrix products")
    rows = [
        (
            engine.network,
            engine.precision,
            f"{engine.device_bytes / 2**20:.1f}",
            f"{engine.plan_bytes / 1e6:.2f}",
            engine.products,
        )
        for engine in results.engines
    ]
    return table(header, rows)
