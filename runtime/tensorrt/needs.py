"""What a TensorRT target needs: its package, a CUDA package and a GPU it supports."""

from __future__ import annotations

from efq.runtime.backends.target import Target
from efq.runtime.cuda.seam import PACKAGES as CUDA_PACKAGES
from efq.runtime.errors import MissingDependencyError
from efq.runtime.machine.hardware import Gpu, Hardware, Need, checked_need
from efq.runtime.machine.versions import installed_versions
from efq.runtime.tensorrt.module import TensorRTPackage, find_package

_NO_CPU = Need(what="CPU", met=True, detail="any: it computes only what --device cpu asks for, in float, slowly")


def tensorrt_needs(target: Target, hardware: Hardware) -> tuple[Need, ...]:
    """Nothing is opened but the packages."""
    package, gpus = find_package(target.name), hardware.gpus
    found = ", ".join(f"{gpu.name} ({gpu.compute_capability})" for gpu in gpus)
    return (
        checked_need(f"package {package.module}", lambda: str(package.load().__version__)),
        checked_need(f"a CUDA package ({', '.join(CUDA_PACKAGES)})", _cuda_package),
        Need(what="GPU", met=bool(gpus), detail=found or "none; efq-doctor says why"),
        _NO_CPU,
        *(_capability_needs(package, gpus) if gpus else ()),
    )


def _capability_needs(package: TensorRTPackage, gpus: tuple[Gpu, ...]) -> tuple[Need, ...]:
    """One that builds ahead names the GPUs it supports; the other finds out when it builds."""
    if not package.builds_ahead:
        return ()
    try:
        members = package.load().ComputeCapability.__members__
    except MissingDependencyError:
        return ()
    supported = {name.removeprefix("SM") for name in members}
    found = [gpu.compute_capability for gpu in gpus]
    met = any(capability.replace(".", "") in supported for capability in found)
    return (Need(what="a GPU that TensorRT-RTX supports", met=met, detail=f"compute capability {', '.join(found)}"),)


def _cuda_package() -> str:
    found = installed_versions(CUDA_PACKAGES)
    if not found:
        message = "none installed: pip install cuda-python"
        raise MissingDependencyError(message)
    return ", ".join(found)
