"""What every record of a certificate is: a frozen dataclass whose annotations say what its values have to be."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Self

from efq.runtime.artifact.schema import FileSchema

SCHEMA_VERSION = 1

SCHEMA = FileSchema(
    file="certificate.json", version=SCHEMA_VERSION, remedy="certify the artifact again with efq-bench --certify"
)

MOST_ITEMS = 4096
"""Values in one list, or keys in one object."""

_LONGEST_TEXT = 1000
_LARGEST_COSINE = 1.001  # of vectors of unit length, as computed


@dataclasses.dataclass(frozen=True, slots=True)
class Between:
    """A number from `least` to `most`."""

    least: float
    most: float

    def expect(self, field: str, value: object) -> None:
        """Raise SchemaError for anything else."""
        SCHEMA.expect_between(field, value, self.least, self.most)


@dataclasses.dataclass(frozen=True, slots=True)
class Whole:
    """A number of things."""

    def expect(self, field: str, value: object) -> None:
        """Raise SchemaError for anything else."""
        SCHEMA.expect_count(field, value)


@dataclasses.dataclass(frozen=True, slots=True)
class Matching:
    """Text of one line that fits `pattern`, described by `said`."""

    pattern: str
    said: str

    def expect(self, field: str, value: object) -> None:
        """Raise SchemaError for anything else."""
        fits = isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable()
        assert isinstance(value, str) or not fits
        SCHEMA.expect(fits and re.fullmatch(self.pattern, str(value)) is not None, field, self.said, value)


Rate = Annotated[float, Between(0.0, 1.0)]
Difference = Annotated[float, Between(-1.0, 1.0)]
Cosine = Annotated[float, Between(-_LARGEST_COSINE, _LARGEST_COSINE)]
Number = Annotated[float, Between(-1e9, 1e9)]
Count = Annotated[int, Whole()]
Text = Annotated[str, Matching(".+", f"a line of at most {_LONGEST_TEXT:,} characters")]
Digest = Annotated[str, Matching("[0-9a-f]{64}", "a SHA-256, 64 hexadecimal digits")]
Side = Annotated[str, Matching("teacher|student", '"teacher" or "student"')]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A part of a certificate. Raises SchemaError for values that are not what the annotations of its fields say.

    These may be the kinds above, bool, another record, tuples and mappings of them, and each of it or None.
    """

    def __post_init__(self) -> None:
        for name, kind in _kinds(type(self)).items():
            _expect(f"{type(self).__name__}.{name}", kind, getattr(self, name))

    @classmethod
    def from_dict(cls, values: object, field: str) -> Self:
        """From plain values as JSON has them; every key has to be there. Raises SchemaError."""
        SCHEMA.expect(isinstance(values, Mapping), field, "an object", values)
        assert isinstance(values, Mapping)
        kinds = _kinds(cls)
        SCHEMA.expect_keys(field, set(values), set(kinds))
        return cls(**{name: _read(f"{field}.{name}", kind, values[name]) for name, kind in kinds.items()})


_KINDS: dict[type[Record], dict[str, Any]] = {}


def _kinds(record: type[Record]) -> dict[str, Any]:
    """The annotations of its fields, evaluated once."""
    if record not in _KINDS:
        hints = typing.get_type_hints(record, include_extras=True)
        _KINDS[record] = {field.name: hints[field.name] for field in dataclasses.fields(record)}
    return _KINDS[record]


def _read(field: str, kind: Any, value: object) -> object:
    """`value` with lists as tuples and objects as records; whether it fits is checked by the record it is for."""
    kind = _present(kind)
    if value is None:
        return None
    if typing.get_origin(kind) is tuple:
        SCHEMA.expect(isinstance(value, list) and len(value) <= MOST_ITEMS, field, f"{MOST_ITEMS} values", value)
        assert isinstance(value, list)
        item = typing.get_args(kind)[0]
        return tuple(_read(f"{field}[{place}]", item, found) for place, found in enumerate(value))
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.from_dict(value, field)
    return value


def _expect(field: str, kind: Any, value: object) -> None:
    present = _present(kind)
    if value is None and present is not kind:
        return
    origin = typing.get_origin(present)
    if origin is Annotated:
        typing.get_args(present)[1].expect(field, value)
    elif origin is tuple:
        fits = isinstance(value, tuple) and len(value) <= MOST_ITEMS
        SCHEMA.expect(fits, field, f"a list of at most {MOST_ITEMS} values", value)
        assert isinstance(value, tuple)
        for place, item in enumerate(value):
            _expect(f"{field}[{place}]", typing.get_args(present)[0], item)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        fits = isinstance(value, Mapping) and len(value) <= MOST_ITEMS
        SCHEMA.expect(fits, field, f"an object of at most {MOST_ITEMS} keys", value)
        assert isinstance(value, Mapping)
        for name, item in value.items():
            for part, found in zip(typing.get_args(present), (name, item), strict=True):
                _expect(f"{field}.{name}", part, found)
    else:
        SCHEMA.expect(isinstance(value, present), field, f"a {present.__name__}", value)


def _present(kind: Any) -> Any:
    """The kind of a value that may be None, when it is not."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    (present,) = (one for one in typing.get_args(kind) if one is not type(None))
    return present
