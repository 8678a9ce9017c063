"""The CPU this process runs on: its name, and those of its instruction sets that decide which kernels run."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
from pathlib import Path

from efq.runtime.machine.dot_products import pairs_per_cycle
from efq.runtime.machine.quota import cpu_quota

_CPUINFO = Path("/proc/cpuinfo")

# As /proc/cpuinfo spells them (x86, then arm).
_FLAGS = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "amx_int8": "amx_int8",
    "avx512_bf16": "avx512_bf16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
}
_NUMBERS = {"cpu family": "family", "model": "model"}
_ARM = frozenset({"aarch64", "arm64"})
_VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """A CPU; `isa` holds the instruction sets of interest it reports, None when the system does not say.

    `name` has the family and model, too, where the system gives them (x86): many hosts hide the rest. `cores` is the
    number of logical processors this process may use. `pairs_per_cycle`: see efq.runtime.machine.dot_products.
    """

    name: str
    architecture: str
    cores: int
    isa: tuple[str, ...] | None
    pairs_per_cycle: int | None = None

    @property
    def has_vnni(self) -> bool | None:
        """Whether an x86 processor multiplies and adds 8-bit integers in one instruction; None when unknown."""
        return None if self.isa is None else bool(_VNNI & set(self.isa))

    @property
    def dot_products(self) -> str | None:
        """What multiplies and adds 8-bit integers in one instruction: "VNNI" on x86, "dotprod" on ARM.

        Empty where nothing does, None when unknown.
        """
        if self.isa is None:
            return None
        return "VNNI" if self.has_vnni else "dotprod" if "dotprod" in self.isa else ""

    @property
    def dot_product_class(self) -> str:
        """What figures of one CPU say of another: "no VNNI", "VNNI, 64 pairs of bytes a cycle", the same with 128, ...

        With ", AMX" where products of matrices are computed, too.
        Without the number where the model is not known; "dotprod" and "no dotprod" on ARM; "unknown".
        """
        if self.dot_products is None:
            return "unknown"
        if not self.dot_products:
            return "no dotprod" if self.architecture in _ARM else "no VNNI"
        pairs = "" if self.pairs_per_cycle is None else f", {self.pairs_per_cycle} pairs of bytes a cycle"
        return self.dot_products + pairs + (", AMX" if self.isa and "amx_int8" in self.isa else "")


def describe_cpu(cpuinfo: Path = _CPUINFO) -> Cpu:
    """Describe the CPU; `cpuinfo` is the kernel's processor listing (Linux)."""
    listing = _read_cpuinfo(cpuinfo)
    return Cpu(
        name=_name(listing),
        architecture=platform.machine(),
        cores=usable_cores(),
        isa=_isa(listing),
        pairs_per_cycle=_pairs_per_cycle(listing),
    )


def usable_cores() -> int:
    """The logical processors this process may use: those it may run on, but no more than its quota of CPU time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpus_to_bind(threads: int) -> tuple[int, ...]:
    """The CPUs to bind `threads` threads to, one each; none when the process has more or fewer CPUs than that.

    Linux may wake a thread on the CPU of the thread that wakes it, which in a call waits for it, while another CPU is
    idle (docs/decisions/0036-threads-bound-to-cpus.md). Where CPUs are left for others, which of them are free is not
    for one process to say.
    """
    if threads < 2 or not hasattr(os, "sched_getaffinity"):
        return ()
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    return cpus if len(cpus) == threads else ()


def _read_cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's fields; empty where the system has no such file."""
    if not path.is_file():
        return {}
    first_processor = path.read_text(encoding="utf-8", errors="replace").split("\n\n", maxsplit=1)[0]
    fields = (line.partition(":") for line in first_processor.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in fields}


def _name(listing: dict[str, str]) -> str:
    name = listing.get("model name") or platform.processor() or "unknown"
    numbers = [f"{said} {listing[field]}" for field, said in _NUMBERS.items() if field in listing]
    return ", ".join([name, *numbers])


def _isa(listing: dict[str, str]) -> tuple[str, ...] | None:
    flags = listing.get("flags", listing.get("Features"))
    if flags is None:
        return None
    found = set(flags.split())
    return tuple(name for flag, name in _FLAGS.items() if flag in found)


def _pairs_per_cycle(listing: dict[str, str]) -> int | None:
    family, model = listing.get("cpu family", ""), listing.get("model", "")
    if not (family.isdecimal() and model.isdecimal()):
        return None
    return pairs_per_cycle(listing.get("vendor_id", ""), int(family), int(model), frozenset(_isa(listing) or ()))
