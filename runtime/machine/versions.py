"""The versions of the packages that are installed."""

from __future__ import annotations

from collections.abc import Iterable

ONNXRUNTIME_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
"""Either is ONNX Runtime with its CPU kernels."""


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """The version by name, in the order given, of those packages that are installed; no package is loaded."""
    import importlib.metadata  # a service starts without it, and without the email package that it needs

    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
