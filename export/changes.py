"""What an export did to a student for its target: a record of its own, beside the recipe the student was made with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from efq.runtime.artifact.manifest import REDUCED_RANGE, REQUANTIZED


class Requantization(Protocol):
    """What quantizing anew changed; `str` is a sentence on it."""

    def to_dict(self) -> Mapping[str, Any]:
        """Plain values, for JSON."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentChanges:
    """Nothing by default.

    reduced_range: whether every weight of the artifact has 7 bits or fewer; None where its target does not ask.
    requantized: how quantizing anew for the target changed the student.
    """

    reduced_range: bool | None = None
    requantized: Requantization | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence on each change a user should read."""
        return () if self.requantized is None else (str(self.requantized),)

    def to_recipe(self) -> dict[str, Any]:
        """The entries that tell of the changes in the recipe of a manifest."""
        reduced = {} if self.reduced_range is None else {REDUCED_RANGE: self.reduced_range}
        return reduced | self.requantized_entry

    @property
    def requantized_entry(self) -> dict[str, Any]:
        """How quantizing anew changed the student, under its key; empty where it was not."""
        return {} if self.requantized is None else {REQUANTIZED: dict(self.requantized.to_dict())}
