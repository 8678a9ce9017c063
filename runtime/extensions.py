"""What other packages add to EFQ through entry points."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Iterator

_logger = logging.getLogger(__name__)


def load_extensions(group: str) -> Iterator[tuple[str, object]]:
    """The name of each entry point of `group`, sorted, and the object it names.

    One that does not load, for whatever reason, is a warning in the log and left out: a package that is broken must
    not keep EFQ from working.
    """
    for entry_point in sorted(importlib.metadata.entry_points(group=group), key=lambda point: point.name):
        try:
            yield entry_point.name, entry_point.load()
        except Exception as error:
            _logger.warning(
                "the entry point %s of %s (%s) does not load: %r", entry_point.name, group, entry_point.value, error
            )
