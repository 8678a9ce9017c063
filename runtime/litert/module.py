"""LiteRT's interpreter, where it is installed and new enough."""

from __future__ import annotations

import importlib
from typing import Any

from efq.runtime.errors import MissingDependencyError
from efq.runtime.machine.forks import loading

NAME = "litert"
"""Of the backend."""

LEAST_VERSION = (2, 3)
INSTALL = "install it with: pip install 'efq[litert]'"


def import_litert() -> Any:
    """The module `ai_edge_litert.interpreter`.

    Raises MissingDependencyError when there is none, or one of before EFQ was tested with any.
    """
    try:
        with loading:
            package = importlib.import_module("ai_edge_litert")
            module = importlib.import_module("ai_edge_litert.interpreter")
    except (ImportError, OSError) as error:  # it loads its library itself
        message = f"this needs LiteRT, which cannot be imported ({error}); {INSTALL}"
        raise MissingDependencyError(message) from error
    if is_too_old(package.__version__):
        least = ".".join(map(str, LEAST_VERSION))
        message = f"expected ai-edge-litert {least} or newer, found {package.__version__}; {INSTALL}"
        raise MissingDependencyError(message)
    return module


def is_too_old(version: str) -> bool:
    """Whether LiteRT `version`, "2.3.0", is older than EFQ was tested with."""
    return tuple(int(part) for part in version.split(".")[:2]) < LEAST_VERSION
