"""What the targets on the CPU need, and what this CPU means for them (docs/decisions/0021-saturating-products.md)."""

from __future__ import annotations

from efq.runtime.backends.onnxruntime_module import import_onnxruntime
from efq.runtime.backends.saturation import products_saturate
from efq.runtime.backends.target import Target
from efq.runtime.errors import MissingDependencyError
from efq.runtime.machine.cpu import Cpu
from efq.runtime.machine.hardware import Hardware, Need, checked_need
from efq.runtime.machine.versions import ONNXRUNTIME_PACKAGES, installed_versions

_EXACT = "weights of 7 and 8 bits are computed exactly, in the fast kernels"
_SATURATING_IN_ONNXRUNTIME = (
    "7-bit weights are computed exactly in the fast kernels, 8-bit ones (--full-range) exactly in slower ones; "
    "OpenVINO, where it is installed and faster, serves instead"
)
_SATURATING_IN_OPENVINO = "7-bit weights are computed exactly, 8-bit ones (--full-range) refused"


def onnxruntime_needs(target: Target, hardware: Hardware) -> tuple[Need, ...]:
    """ONNX Runtime and any CPU."""
    package = f"package {' or '.join(ONNXRUNTIME_PACKAGES)}"
    found = checked_need(package, lambda: str(import_onnxruntime().__version__))
    return found, _cpu_need(hardware.cpu, saturating=_SATURATING_IN_ONNXRUNTIME)


def openvino_needs(target: Target, hardware: Hardware) -> tuple[Need, ...]:
    """OpenVINO and any CPU."""
    versions = ", ".join(installed_versions(target.packages).values())
    (package,) = target.packages
    found = Need(
        what=f"package {package}", met=bool(versions), detail=versions or f"not installed: pip install {package}"
    )
    return found, _cpu_need(hardware.cpu, saturating=_SATURATING_IN_OPENVINO)


def _cpu_need(cpu: Cpu, *, saturating: str) -> Need:
    try:
        meaning = saturating if products_saturate() else _EXACT
    except MissingDependencyError:
        meaning = "not known without ONNX Runtime, which is asked"
    return Need(what="CPU", met=True, detail=f"{cpu.dot_product_class}: {meaning}")
