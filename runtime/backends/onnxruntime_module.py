"""ONNX Runtime, where it is installed and new enough."""

from __future__ import annotations

from types import ModuleType

from efq.runtime.backends.telemetry import switch_off_onnxruntime
from efq.runtime.errors import MissingDependencyError
from efq.runtime.machine.forks import loading

NAME = "onnxruntime"
"""Of the backend."""

LEAST_VERSION = (1, 30)
"""Before it, `session.x64quantprecision` aborts the process on CPUs without VNNI (tried: 1.24.1, 1.29.0)."""


def import_onnxruntime() -> ModuleType:
    """The module. Raises MissingDependencyError when there is none, or an older one than EFQ was tested with."""
    install = "pip install --upgrade onnxruntime (or onnxruntime-gpu, where that is what is installed)"
    switch_off_onnxruntime()
    try:
        with loading:
            import onnxruntime
    except ImportError as error:
        message = f"this needs ONNX Runtime, which cannot be imported ({error}); install it with: {install}"
        raise MissingDependencyError(message) from error
    if is_too_old(onnxruntime.__version__):
        least = ".".join(map(str, LEAST_VERSION))
        message = f"expected ONNX Runtime {least} or newer, found {onnxruntime.__version__}; install it with: {install}"
        raise MissingDependencyError(message)
    return onnxruntime


def is_too_old(version: str) -> bool:
    """Whether ONNX Runtime `version`, "1.32.0", is older than EFQ was tested with."""
    return tuple(int(part) for part in version.split(".")[:2]) < LEAST_VERSION
