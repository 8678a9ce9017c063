"""What this machine can run: versions, ONNX Runtime's providers, CPU, GPUs, cache, and what each target needs."""

from __future__ import annotations

import dataclasses
from typing import Any

from efq.runtime.backends.onnxruntime_module import import_onnxruntime
from efq.runtime.errors import DeviceError, MissingDependencyError, UsageError
from efq.runtime.faces.formats import compiled_walks
from efq.runtime.machine.cache import CacheReport, examine_cache
from efq.runtime.machine.cpu import Cpu
from efq.runtime.machine.hardware import Gpu, Hardware, Need, find_hardware
from efq.runtime.machine.versions import ONNXRUNTIME_PACKAGES, installed_versions
from efq.runtime.native.library import instruction_sets
from efq.runtime.targets import Target, is_built_in, targets

_VERSIONS = (
    *("efq", "numpy", *ONNXRUNTIME_PACKAGES, "opencv-python-headless", "openvino"),
    *("tensorrt", "tensorrt-rtx", "cuda-python", "pycuda", "torch", "onnx"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetReport:
    """Whether artifacts of a target run on this machine."""

    target: str
    needs: tuple[Need, ...]

    @property
    def runs(self) -> bool:
        """Whether every need is met."""
        return all(need.met for need in self.needs)

    def check(self) -> None:
        """Raises DeviceError (exit 4) naming what is missing."""
        missing = [f"{need.what}: {need.detail}" for need in self.needs if not need.met]
        if missing:
            message = f"expected this machine to run the target {self.target}, found missing: {'; '.join(missing)}"
            raise DeviceError(message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What was found; `gpu_problem` says why there are no GPUs, None when there are.

    `kernels`: instruction sets of EFQ's own kernels that run here, the fastest first; none where they were not built.
    jpeg_walk: whether JPEGs are checked in C++; where that was not built, or does not load, Python does it, slowly.
    """

    versions: dict[str, str]
    providers: tuple[str, ...]
    kernels: tuple[str, ...]
    jpeg_walk: bool
    cpu: Cpu
    gpus: tuple[Gpu, ...]
    gpu_problem: str | None
    targets: tuple[TargetReport, ...]
    cache: CacheReport

    def target(self, name: str) -> TargetReport:
        """The report of one target. Raises UsageError when there is none of that name."""
        for report in self.targets:
            if report.target == name:
                return report
        message = f"unknown target {name!r}: expected one of {', '.join(report.target for report in self.targets)}"
        raise UsageError(message)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = dataclasses.asdict(self)
        values["cpu"]["dot_product_class"] = self.cpu.dot_product_class
        values["targets"] = {
            report.target: {"runs": report.runs, "needs": [dataclasses.asdict(need) for need in report.needs]}
            for report in self.targets
        }
        return values


def examine() -> Report:
    """Look at everything; nothing here raises for what is merely absent."""
    hardware = find_hardware()
    known = targets().values()
    packages = (package for target in known for package in target.packages)
    return Report(
        versions=installed_versions(dict.fromkeys((*_VERSIONS, *packages))),
        providers=_providers(),
        kernels=_kernels(),
        jpeg_walk=compiled_walks.load_library() is not None,
        cpu=hardware.cpu,
        gpus=hardware.gpus,
        gpu_problem=hardware.gpu_problem,
        targets=tuple(TargetReport(target=target.name, needs=_needs(target, hardware)) for target in known),
        cache=examine_cache(),
    )


def _needs(target: Target, hardware: Hardware) -> tuple[Need, ...]:
    """A target of another package that fails is reported as that: the others can be looked at all the same."""
    try:
        return target.needs(target, hardware)
    except Exception as error:  # whatever another package does
        if is_built_in(target):
            raise
        return (Need(what="the package that adds it", met=False, detail=f"{type(error).__name__}: {error}"),)


def _providers() -> tuple[str, ...]:
    try:
        return tuple(import_onnxruntime().get_available_providers())
    except MissingDependencyError:
        return ()


def _kernels() -> tuple[str, ...]:
    try:
        return tuple(name for name in instruction_sets() if not name.startswith("emulated"))
    except MissingDependencyError:
        return ()
