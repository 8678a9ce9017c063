"""Find the TensorRT package of a target. Features are told by looking at the module, never by its version."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from efq.runtime.errors import MissingDependencyError, UsageError

PACKAGES = {"trt": "tensorrt", "trt-rtx": "tensorrt_rtx"}
_INSTALL = {"trt": "pip install 'efq[trt]'", "trt-rtx": "pip install 'efq[trt-rtx]'"}


def import_tensorrt(target: str) -> Any:
    """The module `tensorrt` for the target `trt`, or `tensorrt_rtx` for `trt-rtx`.

    Raises MissingDependencyError when it is not installed or its libraries do not load, UsageError for other targets.
    """
    if target not in PACKAGES:
        message = f"expected a TensorRT target, one of {', '.join(PACKAGES)}; found {target!r}"
        raise UsageError(message)
    try:
        return importlib.import_module(PACKAGES[target])
    except (ImportError, OSError, RuntimeError) as error:  # a library that does not load is any of these
        message = (
            f"the target {target} needs the package {PACKAGES[target]}, which does not load ({error}); "
            f"install it with: {_INSTALL[target]}"
        )
        raise MissingDependencyError(message) from error


def is_installed(target: str) -> bool:
    """Whether the target's package loads."""
    with contextlib.suppress(MissingDependencyError):
        import_tensorrt(target)
        return True
    return False
