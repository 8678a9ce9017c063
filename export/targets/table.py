"""The export side of each target, loaded when it is asked for: `efq.runtime.targets` says where it is."""

from __future__ import annotations

import importlib

from efq.export.targets.target import ExportTarget
from efq.runtime import targets as rows
from efq.runtime.errors import MissingDependencyError


def find_target(name: str) -> ExportTarget:
    """The export side of the target of that name.

    Raises UsageError when there is no such target, MissingDependencyError when its export side does not load.
    """
    reference = rows.find_target(name).exporter
    module, _, attribute = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # another package's code may raise anything
        message = f"expected the export side of the target {name} at {reference!r}, found: {error!r}; install it again"
        raise MissingDependencyError(message) from error
    if not isinstance(found, ExportTarget) or found.name != name:
        message = f"expected an ExportTarget named {name!r} at {reference!r}, found {found!r}; update what offers it"
        raise MissingDependencyError(message)
    return found
