"""The TensorRT packages: which module each target takes, and how the two differ before that is loaded."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from typing import Any

from efq.runtime.errors import MissingDependencyError, UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorRTPackage:
    """The package of a target.

    module: its name in Python. install: the command that installs it. builds_ahead: it builds engines for named GPUs
    on any machine, without one, and they compile their kernels where they run; otherwise an engine is built on the GPU
    it is for.
    """

    target: str
    module: str
    install: str
    builds_ahead: bool

    def load(self) -> Any:
        """The module. Raises MissingDependencyError when it is not installed or its libraries do not load."""
        try:
            return importlib.import_module(self.module)
        except (ImportError, OSError, RuntimeError) as error:  # a library that does not load is any of these
            message = (
                f"the target {self.target} needs the package {self.module}, which does not load ({error}); "
                f"install it with: {self.install}"
            )
            raise MissingDependencyError(message) from error


TENSORRT = TensorRTPackage(target="trt", module="tensorrt", install="pip install 'efq[trt]'", builds_ahead=False)
TENSORRT_RTX = TensorRTPackage(
    target="trt-rtx", module="tensorrt_rtx", install="pip install 'efq[trt-rtx]'", builds_ahead=True
)

_PACKAGES = {package.target: package for package in (TENSORRT, TENSORRT_RTX)}

TARGETS = tuple(_PACKAGES)


def find_package(target: str) -> TensorRTPackage:
    """The package of a target. Raises UsageError for a target that takes none."""
    if target not in _PACKAGES:
        message = f"expected a TensorRT target, one of {', '.join(_PACKAGES)}; found {target!r}"
        raise UsageError(message)
    return _PACKAGES[target]


def import_tensorrt(target: str) -> Any:
    """The module `tensorrt` for the target `trt`, or `tensorrt_rtx` for `trt-rtx`.

    Raises MissingDependencyError when it is not installed or its libraries do not load, UsageError for other targets.
    """
    return find_package(target).load()


def is_installed(target: str) -> bool:
    """Whether the target's package loads."""
    with contextlib.suppress(MissingDependencyError):
        import_tensorrt(target)
        return True
    return False
