"""What every JSON file of an artifact is held to: a version that is known, and keys and values that fit."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Set
from typing import Any

from efq.runtime.errors import SchemaError
from efq.runtime.reading import parse_json

DEEPEST = 16
"""Objects and lists in one another."""

LONGEST_TEXT = 20_000
"""Characters of a name, or of a licence."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

_LARGEST_INTEGER = 2**63
_SHOWN = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSchema:
    """The rules of one file, for messages too. Every method raises SchemaError for what does not fit.

    file: its name. version: its newest schema_version. oldest: the oldest that is read, None for the newest alone.
    remedy: what to do about a file that does not fit.
    """

    file: str
    version: int
    remedy: str
    oldest: int | None = None

    def parse(self, text: str) -> dict[str, Any]:
        """The object that the file's text holds: plain values, finite, whole numbers of 64 bits, `DEEPEST` at most."""
        self.expect(isinstance(text, str), self.file, "its text", text)
        try:
            values = parse_json(text, f"JSON in {self.file}", error_class=SchemaError)
        except SchemaError as error:
            message = f"{error}; {self.remedy}"
            raise SchemaError(message) from error
        self.expect(isinstance(values, dict), self.file, "an object", values)
        assert isinstance(values, dict)
        self.expect_plain(self.file, values)
        return values

    def expect_plain(self, field: str, value: object, *, depth: int = 0) -> None:
        """Check that the value and what is in it can be written and computed with, whatever else it is."""
        self.expect(depth <= DEEPEST, field, f"values in at most {DEEPEST} others", "more")
        if isinstance(value, Mapping):
            for key, item in value.items():
                self.expect_plain(field, key, depth=depth + 1)
                self.expect_plain(field, item, depth=depth + 1)
        elif isinstance(value, list):
            for item in value:
                self.expect_plain(field, item, depth=depth + 1)
        elif isinstance(value, str):
            self.expect(not any("\ud800" <= letter <= "\udfff" for letter in value), field, "Unicode text", value)
        elif isinstance(value, int):
            self.expect(abs(value) < _LARGEST_INTEGER, field, "whole numbers of 64 bits", "a larger one")
        elif isinstance(value, float):
            self.expect(math.isfinite(value), field, "finite numbers", value)

    def expect_version(self, version: object) -> None:
        """Check a schema_version."""
        oldest = self.version if self.oldest is None else self.oldest
        if type(version) is int and oldest <= version <= self.version:
            return
        newer = type(version) is int and version > self.version
        what_to_do = "update efq (pip install --upgrade efq)" if newer else self.remedy
        known = " or ".join(map(str, range(oldest, self.version + 1)))
        message = f"expected schema_version {known} in {self.file}, found {version!r}; {what_to_do}"
        raise SchemaError(message)

    def expect(self, condition: bool, field: str, expected: str, found: object) -> None:
        """Check that the value of `field`, `found`, is what `expected` says."""
        if not condition:
            shown = repr(found)
            shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
            message = f"expected {expected} as {field} of {self.file}, found {shown}; {self.remedy}"
            raise SchemaError(message)

    def expect_keys(self, field: str, found: Set[str], expected: Set[str], *, optional: Set[str] = frozenset()) -> None:
        """Check that the keys of `field` are the expected ones, of which the `optional` may be absent."""
        missing, unknown = sorted(expected - optional - found), sorted(found - expected)
        if missing or unknown:
            described = " and ".join(
                f"{kind} {', '.join(names)}"
                for kind, names in (("without", missing), ("with unknown", unknown))
                if names
            )
            message = (
                f"expected the keys {', '.join(sorted(expected))} in {field}, found them {described}; {self.remedy}"
            )
            raise SchemaError(message)

    def expect_text(self, field: str, value: object) -> None:
        """Check that the value is a text that a terminal shows as it is."""
        fits = isinstance(value, str) and len(value) <= LONGEST_TEXT and _CONTROL.search(value) is None
        self.expect(fits, field, f"text of at most {LONGEST_TEXT:,} characters, none of them of control", value)

    def expect_count(self, field: str, value: object) -> None:
        """Check that the value is a number of things."""
        self.expect(type(value) is int and value >= 0, field, "a count", value)

    def expect_between(self, field: str, value: object, least: float, most: float) -> None:
        """Check that the value is a number from `least` to `most`; true and false are none."""
        fits = isinstance(value, float | int) and not isinstance(value, bool) and least <= value <= most
        self.expect(fits, field, f"a number from {least:g} to {most:g}", value)
