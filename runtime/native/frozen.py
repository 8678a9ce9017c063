"""Dataclasses that are frozen, made by keyword and compared by identity.

`dataclasses` writes and compiles code for each such class, half a millisecond for every one of a start's twenty
(docs/decisions/0081-a-start-of-what-serves.md). Here the fields are its own, and the code is the same for all.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn, TypeVar, dataclass_transform

Kind = TypeVar("Kind")


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=False, field_specifiers=(dataclasses.field,))
def frozen(kind: type[Kind]) -> type[Kind]:
    """As `dataclasses.dataclass(frozen=True, kw_only=True, eq=False)`; `dataclasses.replace` and `fields` take them."""
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, match_args=False)(kind)
    made.__init__, made.__setattr__, made.__delattr__, made.__repr__ = _init, _set, _delete, _repr
    return kind


def _init(self: Any, **values: Any) -> None:
    for name, field in self.__dataclass_fields__.items():
        if name in values:
            value = values.pop(name)
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            message = f"{type(self).__name__} without {name}"
            raise TypeError(message)
        object.__setattr__(self, name, value)
    if values:
        message = f"{type(self).__name__} with unknown {', '.join(values)}"
        raise TypeError(message)


def _set(self: Any, name: str, value: object) -> NoReturn:
    message = f"cannot assign to field {name!r}"
    raise dataclasses.FrozenInstanceError(message)


def _delete(self: Any, name: str) -> NoReturn:
    message = f"cannot delete field {name!r}"
    raise dataclasses.FrozenInstanceError(message)


def _repr(self: Any) -> str:
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
    return f"{type(self).__name__}({values})"
