"""OpenVINO, where it is installed, without its telemetry."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from efq.runtime.backends.telemetry import CHOICE
from efq.runtime.errors import MissingDependencyError
from efq.runtime.machine.forks import loading

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """The module. Raises MissingDependencyError when it is not installed or does not load."""
    try:
        with loading, _without_telemetry():
            return importlib.import_module("openvino")
    except ImportError as error:
        message = (
            f"this needs OpenVINO, which cannot be imported ({error}); install it with: pip install 'efq[openvino]'"
        )
        raise MissingDependencyError(message) from error


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """OpenVINO takes its own stub where its telemetry package cannot be imported."""
    if _TELEMETRY in sys.modules or os.environ.get(CHOICE) == "1":
        yield
        return
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
