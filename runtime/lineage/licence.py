"""What a licence asks of those who pass on what it covers, and whether one licence keeps what another asks."""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import Self

from efq.runtime.lineage import spdx

_RESEARCH = re.compile(r"research|academi|educational|scientific", re.IGNORECASE)
_NON_COMMERCIAL = re.compile(
    r"non[- ]?commercial|not? (?:for )?commercial|(?<![a-z])nc(?![a-z])|personal use|evaluation (?:only|purposes)",
    re.IGNORECASE,
)
_OPERATORS = re.compile(r"(\(|\)|\s+(?:AND|OR)\s+)")
_DEEPEST = 10


class Demand(enum.Enum):
    """What a licence asks, from what narrows its use least to nothing granted at all."""

    ATTRIBUTION = "attribution"
    SHARE_ALIKE = "share-alike"
    OWN_TERMS = "terms of its own"
    NO_DERIVATIVES = "no derivatives"
    NON_COMMERCIAL = "non-commercial"
    RESEARCH = "research only"
    UNKNOWN = "nothing granted"


_STATED = frozenset({Demand.ATTRIBUTION})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Licence:
    """A licence, or an expression of several.

    text: its SPDX identifier or expression where it has one, else as it was written. demands: what it asks. binding:
    licences that have to be kept as they are: share-alike ones, without -only and -or-later, and texts of their own.
    """

    text: str
    demands: frozenset[Demand]
    binding: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From an SPDX identifier, an expression of them with AND, OR and parentheses, or any other text.

        Of alternatives that with the fewest demands counts. Text that is no identifier is taken for non-commercial, or
        for research only, where it has such words; else for terms of its own, that nothing else can stand for.
        """
        tokens = [token.strip() for token in _OPERATORS.split(" ".join(text.split())) if token.strip()]
        if len(tokens) > 1:
            found = cls._alternatives(tokens, 0)
            if found is not None and not tokens:
                return found
        return cls._one(text)

    @classmethod
    def _alternatives(cls, tokens: list[str], depth: int) -> Self | None:
        """Those at the front of `tokens`, which are taken off; None where they are no expression."""
        found = cls._all_of(tokens, depth)
        while found is not None and tokens and tokens[0] == "OR":
            del tokens[0]
            other = cls._all_of(tokens, depth)
            if other is None:
                return None
            lesser = min(found, other, key=lambda one: (one._weight, len(one.binding)))
            found = dataclasses.replace(lesser, text=f"{found.text} OR {other.text}")
        return found

    @classmethod
    def _all_of(cls, tokens: list[str], depth: int) -> Self | None:
        found = cls._operand(tokens, depth)
        while found is not None and tokens and tokens[0] == "AND":
            del tokens[0]
            other = cls._operand(tokens, depth)
            found = None if other is None else found._with(other)
        return found

    @classmethod
    def _operand(cls, tokens: list[str], depth: int) -> Self | None:
        if not tokens or tokens[0] in (")", "AND", "OR") or depth > _DEEPEST:
            return None
        token = tokens.pop(0)
        if token != "(":
            return cls._one(token)
        found = cls._alternatives(tokens, depth + 1)
        if found is None or not tokens or tokens.pop(0) != ")":
            return None
        return dataclasses.replace(found, text=f"({found.text})")

    @classmethod
    def _one(cls, text: str) -> Self:
        base, exception, rest = text.partition(" WITH ")
        identifier = spdx.identify(base)
        demands = _demands(identifier)
        kept = demands & {Demand.SHARE_ALIKE, Demand.OWN_TERMS}
        name = re.sub(r"-(?:only|or-later)$", "", identifier).lower()
        return cls(
            text=f"{identifier}{exception}{rest}", demands=demands, binding=frozenset({name}) if kept else frozenset()
        )

    @property
    def is_known(self) -> bool:
        """Whether anything was stated."""
        return Demand.UNKNOWN not in self.demands

    @property
    def is_restricted(self) -> bool:
        """Whether it allows no commercial use."""
        return bool(self.demands & {Demand.NON_COMMERCIAL, Demand.RESEARCH})

    @property
    def _weight(self) -> int:
        order = list(Demand)
        return max((order.index(demand) for demand in self.demands), default=-1)

    def keeps(self, other: Licence) -> bool:
        """Whether it asks all that `other` asks; one that is not known only keeps another such."""
        return self.text.lower() == other.text.lower() or (
            other.demands <= self.demands and other.binding <= self.binding
        )

    def and_also(self, other: Licence) -> Self:
        """Both at once; one of them where it keeps the other."""
        if self.keeps(other):
            return self
        if other.keeps(self):
            return dataclasses.replace(self, text=other.text, demands=other.demands, binding=other.binding)
        return self._with(other)

    def _with(self, other: Licence) -> Self:
        one, two = (f"({text})" if " OR " in text and text[0] != "(" else text for text in (self.text, other.text))
        return dataclasses.replace(
            self,
            text=f"{one} AND {two}",
            demands=self.demands | other.demands,
            binding=self.binding | other.binding,
        )

    def __str__(self) -> str:
        """The text, and what it asks beyond attribution."""
        asked = [demand.value for demand in Demand if demand in self.demands - _STATED]
        return f"{self.text}: {', '.join(asked)}" if asked else self.text


def _demands(identifier: str) -> frozenset[Demand]:
    if identifier == spdx.UNKNOWN:
        return frozenset({Demand.UNKNOWN})
    if identifier in spdx.PUBLIC_DOMAIN:
        return frozenset()
    if identifier in spdx.ATTRIBUTION:
        return _STATED
    if identifier in spdx.SHARE_ALIKE or spdx.is_family(identifier, "GPL", "LGPL", "AGPL"):
        return _STATED | {Demand.SHARE_ALIKE}
    if identifier in spdx.NON_COMMERCIAL:
        return _STATED | {Demand.NON_COMMERCIAL}
    if spdx.is_family(identifier, "CC-BY(?:-NC)?(?:-SA|-ND)?"):
        parts = {"NC": Demand.NON_COMMERCIAL, "SA": Demand.SHARE_ALIKE, "ND": Demand.NO_DERIVATIVES}
        return _STATED | {demand for part, demand in parts.items() if f"-{part}" in identifier}
    if _RESEARCH.search(identifier):
        return _STATED | {Demand.NON_COMMERCIAL, Demand.RESEARCH}
    if _NON_COMMERCIAL.search(identifier):
        return _STATED | {Demand.NON_COMMERCIAL}
    return _STATED | {Demand.OWN_TERMS}
