"""Which packages reach a GPU on this machine."""

from __future__ import annotations

import contextlib

from efq.runtime import DeviceError, MissingDependencyError
from efq.runtime.cuda.seam import PACKAGES, open_cuda


def _working() -> list[str]:
    found = []
    for package in PACKAGES:
        with contextlib.suppress(DeviceError, MissingDependencyError):
            open_cuda("cuda:0", package)
            found.append(package)
    return found


CUDA_PACKAGES = _working()
