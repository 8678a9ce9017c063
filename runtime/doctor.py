"""What this machine can run: versions, ONNX Runtime's providers, CPU, GPUs, and for each target what it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from efq.runtime.backends.onnxruntime_module import import_onnxruntime
from efq.runtime.backends.saturation import products_saturate
from efq.runtime.cpu import Cpu, describe_cpu
from efq.runtime.cuda.seam import PACKAGES as CUDA_PACKAGES
from efq.runtime.cuda.seam import Cuda, open_cuda
from efq.runtime.errors import DeviceError, EfqError, MissingDependencyError, UsageError
from efq.runtime.tensorrt.module import PACKAGES as TENSORRT_PACKAGES
from efq.runtime.tensorrt.module import import_tensorrt
from efq.runtime.versions import ONNXRUNTIME_PACKAGES, installed_versions

_VERSIONS = (
    *("efq", "numpy", *ONNXRUNTIME_PACKAGES, "opencv-python-headless", "openvino"),
    *("tensorrt", "tensorrt-rtx", "cuda-python", "pycuda", "torch", "onnx"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Need:
    """One thing a target needs: what, whether it is there, and what was found or what to do."""

    what: str
    met: bool
    detail: str


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
class Gpu:
    """A GPU: its name, compute capability ("8.6"), memory in GiB, CUDA version of the driver, and the package used."""

    name: str
    compute_capability: str
    memory_gib: float
    cuda: str
    package: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What was found; `gpu_problem` says why there are no GPUs, None when there are."""

    versions: dict[str, str]
    providers: tuple[str, ...]
    cpu: Cpu
    gpus: tuple[Gpu, ...]
    gpu_problem: str | None
    targets: tuple[TargetReport, ...]

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
    gpus, problem = _gpus()
    targets = [
        TargetReport(target="ort-cpu", needs=(_onnxruntime_need(), _cpu_need("ort-cpu"))),
        TargetReport(target="openvino", needs=(_package_need("openvino"), _cpu_need("openvino"))),
        *(TargetReport(target=target, needs=_tensorrt_needs(target, gpus)) for target in TENSORRT_PACKAGES),
    ]
    return Report(
        versions=installed_versions(_VERSIONS),
        providers=_providers(),
        cpu=describe_cpu(),
        gpus=gpus,
        gpu_problem=problem,
        targets=tuple(targets),
    )


def _providers() -> tuple[str, ...]:
    try:
        return tuple(import_onnxruntime().get_available_providers())
    except MissingDependencyError:
        return ()


def _gpus() -> tuple[tuple[Gpu, ...], str | None]:
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


def _package_need(*names: str) -> Need:
    """One of these packages; the first is the one to install."""
    found = installed_versions(names)
    detail = ", ".join(found.values()) or f"not installed: pip install {names[0]}"
    return Need(what=f"package {' or '.join(names)}", met=bool(found), detail=detail)


def _onnxruntime_need() -> Need:
    return _checked(f"package {' or '.join(ONNXRUNTIME_PACKAGES)}", lambda: str(import_onnxruntime().__version__))


_EXACT = "weights of 7 and 8 bits are computed exactly, in the fast kernels"
_SATURATING = {
    "ort-cpu": "7-bit weights are computed exactly in the fast kernels, 8-bit ones (--full-range) exactly in slower "
    "ones; OpenVINO, where it is installed and faster, serves instead",
    "openvino": "7-bit weights are computed exactly, 8-bit ones (--full-range) refused",
}
"""What a target runs where 8-bit products saturate (docs/decisions/0021-saturating-products.md)."""

_NO_CPU = Need(what="CPU", met=True, detail="any: it computes only what --device cpu asks for, in float, slowly")


def _cpu_need(target: str) -> Need:
    try:
        meaning = _SATURATING[target] if products_saturate() else _EXACT
    except MissingDependencyError:
        meaning = "not known without ONNX Runtime, which is asked"
    return Need(what="CPU", met=True, detail=f"{describe_cpu().dot_product_class}: {meaning}")


def _tensorrt_needs(target: str, gpus: tuple[Gpu, ...]) -> tuple[Need, ...]:
    return (
        _checked(f"package {TENSORRT_PACKAGES[target]}", lambda: str(import_tensorrt(target).__version__)),
        _checked(f"a CUDA package ({', '.join(CUDA_PACKAGES)})", _cuda_package),
        Need(
            what="GPU",
            met=bool(gpus),
            detail=", ".join(f"{gpu.name} ({gpu.compute_capability})" for gpu in gpus) or "none; efq-doctor says why",
        ),
        _NO_CPU,
        *(_capability_need(target, gpus) if gpus else ()),
    )


def _capability_need(target: str, gpus: tuple[Gpu, ...]) -> tuple[Need, ...]:
    """TensorRT-RTX names the GPUs it supports; TensorRT finds out when it builds."""
    try:
        members = getattr(import_tensorrt(target), "ComputeCapability", None)
    except MissingDependencyError:
        return ()
    if members is None:
        return ()
    supported = {name.removeprefix("SM") for name in members.__members__}
    found = [gpu.compute_capability for gpu in gpus]
    met = any(capability.replace(".", "") in supported for capability in found)
    return (Need(what="a GPU that TensorRT-RTX supports", met=met, detail=f"compute capability {', '.join(found)}"),)


def _cuda_package() -> str:
    found = installed_versions(CUDA_PACKAGES)
    if not found:
        message = "none installed: pip install cuda-python"
        raise MissingDependencyError(message)
    return ", ".join(found)


def _checked(what: str, find: Callable[[], str]) -> Need:
    try:
        return Need(what=what, met=True, detail=find())
    except EfqError as error:
        return Need(what=what, met=False, detail=str(error))
