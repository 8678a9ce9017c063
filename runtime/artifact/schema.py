"""What every JSON file of an artifact is held to: a version that is known, and keys and values that fit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Set
from typing import Any, NoReturn

from efq.runtime.errors import SchemaError


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSchema:
    """The rules of one file, for messages too. Every method raises SchemaError for what does not fit.

    file: its name. version: its newest schema_version. remedy: what to do about a file that does not fit.
    """

    file: str
    version: int
    remedy: str

    def parse(self, text: str) -> dict[str, Any]:
        """The object that the file's text holds, with finite numbers only."""
        try:
            values = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            message = f"expected JSON in {self.file}, found text that is not ({error}); {self.remedy}"
            raise SchemaError(message) from error
        self.expect(isinstance(values, dict), self.file, "an object", values)
        return dict(values)

    def expect_version(self, version: object) -> None:
        """Check a schema_version."""
        if type(version) is int and version == self.version:
            return
        newer = type(version) is int and version > self.version
        what_to_do = "update efq (pip install --upgrade efq)" if newer else self.remedy
        message = f"expected schema_version {self.version} in {self.file}, found {version!r}; {what_to_do}"
        raise SchemaError(message)

    def expect(self, condition: bool, field: str, expected: str, found: object) -> None:
        """Check that the value of `field`, `found`, is what `expected` says."""
        if not condition:
            message = f"expected {expected} as {field} of {self.file}, found {found!r}; {self.remedy}"
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


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is no number of JSON"
    raise ValueError(message)
