"""Arguments of one type."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from efq.runtime.errors import UsageError

Kind = TypeVar("Kind")


def instance_of(value: object, kind: type[Kind], expected: str) -> Kind:
    """`value`, of that class. Raises UsageError for another; `expected` ("an artifact, as Artifact.open gives it")."""
    if isinstance(value, kind):
        return value
    raise _refused(value, expected)


def text(value: object, expected: str) -> str:
    """`value`, which is text. Raises UsageError for bytes, None, and all else."""
    return instance_of(value, str, expected)


def flag(value: object, name: str) -> bool:
    """True or False, which every object has a meaning as. Raises UsageError for what is neither."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise _refused(value, f"{name}=True or False")


def _refused(value: object, expected: str) -> UsageError:
    return UsageError(f"expected {expected}, found {type(value).__name__} {repr(value)[:100]}")
