"""What a measurement was made on: processor, instruction sets, memory, system and package versions."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from pathlib import Path
from typing import Any

from efq.runtime.machine.cpu import describe_cpu
from efq.runtime.machine.versions import ONNXRUNTIME_PACKAGES, installed_versions

_PACKAGES = (
    *("efq", "numpy", *ONNXRUNTIME_PACKAGES, "torch", "onnx", "openvino", "nncf"),
    *("tensorrt", "tensorrt-rtx", "cuda-python", "pycuda"),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The machine and software a figure belongs to.

    `isa` holds those instruction sets of interest that the processor reports; None when the system does not say.
    `cpu_class`: how many products of bytes a core does in a cycle, as far as known (efq.runtime.machine.cpu.Cpu).
    `cores` is the number of logical processors this process may use; `memory_gib` is in GiB, None when unknown.
    """

    cpu: str
    architecture: str
    cores: int
    isa: tuple[str, ...] | None
    cpu_class: str
    memory_gib: float | None
    system: str
    python: str
    packages: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)


def describe_machine() -> Machine:
    """Describe the machine this process runs on."""
    cpu = describe_cpu()
    return Machine(
        cpu=cpu.name,
        architecture=cpu.architecture,
        cores=cpu.cores,
        isa=cpu.isa,
        cpu_class=cpu.dot_product_class,
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages=installed_versions(_PACKAGES),
    )


def busy_cores(seconds: float = 1.0) -> float | None:
    """How many cores were at work while this process slept for `seconds`: other processes' work.

    From the first line of Linux's /proc/stat (proc_stat(5)), which counts all of the machine, also outside a
    container. None where there is no such file.
    """
    before = _busy_seconds()
    start = time.monotonic()
    time.sleep(seconds)
    after = _busy_seconds()
    if before is None or after is None:
        return None
    return (after - before) / (time.monotonic() - start)


def _busy_seconds() -> float | None:
    """Seconds of all cores since the start of the machine, those idle or waiting for a disk left out."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _memory_gib() -> float | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
