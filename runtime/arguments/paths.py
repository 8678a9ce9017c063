"""Paths: text or path objects, never bytes, file descriptors or the name "None"."""

from __future__ import annotations

import os
from pathlib import Path

from efq.runtime.errors import UsageError


def path_of(value: object, expected: str) -> Path:
    """A path of `value`, whatever is there. Raises UsageError for what is none; `expected` ("an artifact's folder")."""
    if isinstance(value, str | os.PathLike):
        place = os.fspath(value)
        if isinstance(place, str):
            return Path(place)
    message = f"expected the path of {expected}, a str or Path, found {type(value).__name__} {repr(value)[:100]}"
    raise UsageError(message)
