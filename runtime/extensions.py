"""What other packages add to EFQ through entry points: targets, teacher formats, face formats, peers."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Collection
from typing import Any, TypeVar

_logger = logging.getLogger(__name__)

Extension = TypeVar("Extension")


def load_extensions(
    group: str, kind: type[Extension], *, only: str | None = None, taken: Collection[str] = ()
) -> dict[str, Extension]:
    """The objects that the entry points of `group` name, by their own `name`, in the order of the entry points' names.

    `only` loads no other entry point than that of this name. What does not load, for whatever reason, is no object of
    `kind`, or has a name that is `taken` is left out with a warning in the log: a package that is broken must not keep
    EFQ from working.
    """
    found: dict[str, Extension] = {}
    for entry_point in sorted(importlib.metadata.entry_points(group=group), key=lambda point: point.name):
        if only not in (None, entry_point.name):
            continue
        try:
            extension: Any = entry_point.load()
        except Exception as error:
            reason = f"it does not load: {error!r}"
        else:
            reason = _fault(extension, kind, {*taken, *found})
            if not reason:
                found[extension.name] = extension
                continue
        _logger.warning("%s (%s of %s) is left out: %s", entry_point.name, entry_point.value, group, reason)
    return found


def _fault(extension: Any, kind: type[Any], taken: Collection[str]) -> str:
    """Why an object cannot be used; empty for one that can."""
    if isinstance(extension, type) or not isinstance(extension, kind):
        return f"expected an object that is a {kind.__name__}, found {extension!r}"
    name = extension.name
    return f"there is another {kind.__name__} of the name {name!r}" if name in taken else ""
