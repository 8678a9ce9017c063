"""EFQ's own C++: libraries that installing builds beside the files that load them, where there is a compiler.

They are loaded with ctypes, which gives other threads way while a call runs.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
from pathlib import Path

from efq.runtime.machine.forks import loading


def built_library(folder: Path, name: str) -> Path | None:
    """The library `name` in `folder`; None where it was not built."""
    paths = (folder / f"{name}{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def open_library(path: Path) -> ctypes.CDLL:
    """The library at `path`. Raises OSError where it cannot be loaded."""
    with loading:
        return ctypes.CDLL(str(path))
