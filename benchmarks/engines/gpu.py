"""The GPU a measurement was made on, as CUDA and nvidia-smi describe it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from efq.benchmarks.engines.gpu_results import UNKNOWN, GpuClocks, GpuMachine
from efq.runtime.cuda.seam import Cuda

_SECONDS = 20.0


def describe_gpu(cuda: Cuda, tensorrt: Any) -> GpuMachine:
    """Describe the GPU of `cuda`; `tensorrt` is the module in use. What nvidia-smi does not tell is "unknown"."""
    found = cuda.properties()
    fields = ("driver_version", "power.limit", "clocks.max.sm", "clocks.max.memory")
    driver, power_limit, sm_clock, memory_clock = query_nvidia_smi(found.nvidia_smi_id, fields)
    return GpuMachine(
        name=found.name,
        compute_capability=".".join(map(str, found.compute_capability)),
        memory_gib=round(found.memory_bytes / 2**30, 1),
        cuda=".".join(map(str, found.driver_version)),
        cuda_runtime=".".join(map(str, found.runtime_version)),
        cuda_package=cuda.package,
        tensorrt=f"{tensorrt.__name__} {tensorrt.__version__}",
        driver=driver,
        power_limit=power_limit,
        max_sm_clock=sm_clock,
        max_memory_clock=memory_clock,
    )


def read_clocks(nvidia_smi_id: str) -> GpuClocks:
    """The clocks at this moment."""
    sm, memory = query_nvidia_smi(nvidia_smi_id, ("clocks.sm", "clocks.mem"))
    return GpuClocks(sm=sm, memory=memory)


def query_nvidia_smi(nvidia_smi_id: str, fields: Sequence[str]) -> list[str]:
    """The values of `fields`, with their units, of one GPU; "unknown" for each that nvidia-smi does not give.

    A measurement must not fail for want of its description: without nvidia-smi, or where it fails, all are unknown.
    """
    unknown = [UNKNOWN] * len(fields)
    if not nvidia_smi_id:
        return unknown
    command = ["nvidia-smi", "-i", nvidia_smi_id, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return unknown
    values = [value.strip() for value in output.strip().split(",")]
    if len(values) != len(fields):
        return unknown
    return [UNKNOWN if not value or value.startswith("[") else value for value in values]
