"""What other packages add to EFQ through entry points: targets, teacher formats, face formats, peers."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any, TypeVar

_logger = logging.getLogger(__name__)

Extension = TypeVar("Extension")


def load_extensions(
    group: str, kind: type[Extension], *, only: str | None = None, taken: Collection[str] = ()
) -> dict[str, Extension]:
    """The objects that the entry points of `group` name, by their names, in the order of these.

    An object's `name` is that of its entry point. `only` loads no other than the one of this name. What does not load,
    for whatever reason, is no object of `kind` or has another name or one that is `taken` is left out with a warning in
    the log: a package that is broken must not keep EFQ from working.
    """
    import importlib.metadata  # a service of EFQ's own targets starts without it

    found: dict[str, Extension] = {}
    for entry_point in sorted(importlib.metadata.entry_points(group=group), key=lambda point: point.name):
        if only not in (None, entry_point.name):
            continue
        try:
            extension = entry_point.load()
            _check(extension, kind, entry_point.name, {*taken, *found})
        except (Exception, SystemExit) as error:  # another package's code may do anything
            source = f"{entry_point.name} ({entry_point.value} of {group})"
            _logger.warning("%s is left out: %s: %s", source, type(error).__name__, error)
        else:
            found[entry_point.name] = extension
    return found


def _check(extension: Any, kind: type[Any], name: str, taken: Collection[str]) -> None:
    """Raises TypeError or ValueError for an object that cannot be used."""
    if isinstance(extension, type) or not isinstance(extension, kind):
        message = f"expected a {kind.__name__}, found {extension!r}"
        raise TypeError(message)
    if extension.name != name:
        message = f"expected the name {name!r} of the entry point, found {extension.name!r}"
        raise ValueError(message)
    if name in taken:
        message = f"there is another {kind.__name__} of the name {name!r}"
        raise ValueError(message)
