"""What this machine has, and how a target says what it needs of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from efq.runtime.cuda.seam import Cuda, open_cuda
from efq.runtime.errors import EfqError
from efq.runtime.machine.cpu import Cpu, describe_cpu


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU: its name, compute capability ("8.6"), memory in GiB, CUDA version of the driver, and the package used."""

    name: str
    compute_capability: str
    memory_gib: float
    cuda: str
    package: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hardware:
    """The CPU and the GPUs; `gpu_problem` says why there are no GPUs, None when there are."""

    cpu: Cpu
    gpus: tuple[Gpu, ...]
    gpu_problem: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Need:
    """One thing a target needs: what, whether it is there, and what was found or what to do."""

    what: str
    met: bool
    detail: str


def find_hardware() -> Hardware:
    """Look; nothing here raises for what is merely absent."""
    gpus, problem = _find_gpus()
    return Hardware(cpu=describe_cpu(), gpus=gpus, gpu_problem=problem)


def checked_need(what: str, find: Callable[[], str]) -> Need:
    """A need that is met when `find` says what it found, and not when it raises an EfqError."""
    try:
        return Need(what=what, met=True, detail=find())
    except EfqError as error:
        return Need(what=what, met=False, detail=str(error))


def _find_gpus() -> tuple[tuple[Gpu, ...], str | None]:
    try:
        count = open_cuda().device_count()
        return tuple(_describe_gpu(open_cuda(f"cuda:{ordinal}")) for ordinal in range(count)), None
    except EfqError as error:
        return (), str(error)


def _describe_gpu(cuda: Cuda) -> Gpu:
    properties = cuda.properties()
    return Gpu(
        name=properties.name,
        compute_capability=".".join(map(str, properties.compute_capability)),
        memory_gib=round(properties.memory_bytes / 2**30, 1),
        cuda=".".join(map(str, properties.driver_version)),
        package=cuda.package,
    )
