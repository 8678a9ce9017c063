"""The packages of the extra `serve`."""

from __future__ import annotations

import importlib.util

from efq.runtime.errors import MissingDependencyError

_PACKAGES = ("fastapi", "uvicorn", "prometheus_client")


def check_packages() -> None:
    """Raise MissingDependencyError unless all are installed."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        message = f"a service needs {', '.join(missing)}; install it with: pip install 'efq[serve]'"
        raise MissingDependencyError(message)
