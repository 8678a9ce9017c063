"""What a measurement was made on: processor, instruction sets, memory, system and package versions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")

# Instruction sets that decide which integer and float kernels run, as /proc/cpuinfo spells them (x86, then arm).
_ISA_FLAGS = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "amx_int8": "amx_int8",
    "avx512_bf16": "avx512_bf16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
}
_VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
_PACKAGES = ("efq", "numpy", "onnxruntime", "torch", "onnx", "openvino", "nncf")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The machine and software a figure belongs to.

    `isa` holds those instruction sets of interest that the processor reports; None when the system does not say.
    `cores` is the number of logical processors this process may use; `memory_gib` is in GiB, None when unknown.
    """

    cpu: str
    architecture: str
    cores: int
    isa: tuple[str, ...] | None
    memory_gib: float | None
    system: str
    python: str
    packages: dict[str, str]

    @property
    def has_vnni(self) -> bool | None:
        """Whether an x86 processor multiplies and adds 8-bit integers in one instruction; None when unknown."""
        return None if self.isa is None else bool(_VNNI & set(self.isa))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)


def describe_machine(cpuinfo: Path = _CPUINFO) -> Machine:
    """Describe the machine this process runs on; `cpuinfo` is the kernel's processor listing (Linux)."""
    listing = _read_cpuinfo(cpuinfo)
    return Machine(
        cpu=listing.get("model name") or platform.processor() or "unknown",
        architecture=platform.machine(),
        cores=_usable_cores(),
        isa=_isa(listing),
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages=_versions(_PACKAGES),
    )


def _read_cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's fields; empty where the system has no such file."""
    if not path.is_file():
        return {}
    first_processor = path.read_text(encoding="utf-8", errors="replace").split("\n\n", maxsplit=1)[0]
    fields = (line.partition(":") for line in first_processor.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in fields}


def _isa(listing: dict[str, str]) -> tuple[str, ...] | None:
    flags = listing.get("flags", listing.get("Features"))
    if flags is None:
        return None
    found = set(flags.split())
    return tuple(name for flag, name in _ISA_FLAGS.items() if flag in found)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
