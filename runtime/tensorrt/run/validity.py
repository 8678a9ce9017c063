"""TensorRT-RTX says from a plan's header whether this GPU can run it; TensorRT has no such call."""

from __future__ import annotations

from collections.abc import Sequence

from efq.runtime.errors import DeviceError, EfqError, EngineError
from efq.runtime.tensorrt.api import TensorRT
from efq.runtime.tensorrt.interfaces import Runtime
from efq.runtime.tensorrt.run.logger import Message, failure_reason

REBUILD = "build the engine again with efq-export, for this package and this GPU, or open the artifact with rebuild"

_GPU = "open the artifact on a GPU that TensorRT-RTX supports, or build the engine with this GPU's compute capability"
_DIAGNOSES: tuple[tuple[str, type[EfqError], str, str], ...] = (
    ("MALFORMED_ENGINE", EngineError, "bytes that are no plan of TensorRT-RTX", REBUILD),
    ("VERSION_MISMATCH", EngineError, "a plan of another version of TensorRT-RTX", REBUILD),
    ("UNSUPPORTED_CC", DeviceError, "a GPU whose compute capability the plan or TensorRT-RTX does not support", _GPU),
    ("OLD_CUDA_DRIVER", DeviceError, "a CUDA driver that is too old for the plan", "update the NVIDIA driver"),
    ("OLD_CUDA_RUNTIME", DeviceError, "a CUDA runtime that is too old for the plan", "update tensorrt-rtx"),
    ("INSUFFICIENT_GPU_MEMORY", DeviceError, "too little GPU memory", "free GPU memory: nvidia-smi shows who holds it"),
    ("CUDA_ERROR", DeviceError, "a CUDA driver or runtime that does not work", "check the driver with nvidia-smi"),
)


def check_validity(runtime: Runtime, plan: bytes, module: TensorRT, messages: Sequence[Message]) -> None:
    """Raise EngineError or DeviceError when the module can tell that it will not run the plan; `messages` is its log.

    Does nothing with a module that cannot tell. SUBOPTIMAL plans, which run, pass.
    """
    if not hasattr(runtime, "get_engine_validity"):
        return
    validity, bits = runtime.get_engine_validity(plan[: runtime.engine_header_size])
    if validity != module.EngineValidity.INVALID:
        return
    for name, error, found, remedy in _DIAGNOSES:
        if bits & int(getattr(module.EngineInvalidityDiagnostics, name)):
            detail = f" ({messages[-1].text})" if messages else ""
            package = f"{module.__name__} {module.__version__}"
            message = f"expected a plan that {package} runs here, found {found}{detail}; {remedy}"
            raise error(message)
    # No bit is set where CUDA itself does not answer.
    message = f"expected a GPU that {module.__name__} runs on, found: {failure_reason(messages)}; check nvidia-smi"
    raise DeviceError(message)
