"""Exact search by pgvector: it names candidates in float32, and float64 here says which are the best of them.

A search asks for some more candidates than it needs, and again for more until the last one is worse than the k-th best
by more than float32 may be wrong: then no other can be better.
"""

from __future__ import annotations

import dataclasses
from typing import LiteralString

import numpy as np
from numpy.typing import NDArray

from efq.runtime.gallery.stores.postgresql.connections import Connection
from efq.runtime.gallery.stores.postgresql.vectors import Vector
from efq.runtime.gallery.stores.store import Match, Template

_MORE = 8  # times as many candidates a further time
_LEAST = 32

# An expression that no index of the operator is for, whoever made one: a scan of all rows.
_EXACT: LiteralString = "-(embedding <#> %(probe)s)"
_FACES: LiteralString = """
SELECT p.name, f.name, b.embedding, b.similarity
FROM (SELECT face, embedding, {similarity} AS similarity FROM embeddings WHERE face > 0
      ORDER BY {order} LIMIT %(limit)s) b
JOIN faces f ON f.id = b.face JOIN people p ON p.id = f.person
"""
_MEANS: LiteralString = """
SELECT p.name, NULL, b.embedding, b.similarity
FROM (SELECT person, embedding, {similarity} AS similarity FROM templates WHERE person > 0
      ORDER BY {order} LIMIT %(limit)s) b
JOIN people p ON p.id = b.person
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """How to search: for which template, and by an approximate index or not."""

    template: Template
    approximate: bool


def search(connection: Connection, how: Search, probe: NDArray[np.float32], k: int) -> tuple[Match, ...]:
    """The k best matches of one probe, (d,), best first; of equal ones by name."""
    limit = _MORE * k if how.template == "best" else k
    limit += _LEAST
    slack = 2 * len(probe) * 2.0**-24 * float(np.linalg.norm(probe.astype(np.float64)))
    while True:
        rows = _candidates(connection, how, probe, limit)
        matches = _best(rows, how.template, probe)
        if len(rows) < limit or (len(matches) >= k and how.approximate):
            return matches[:k]
        if len(matches) >= k and min(row[3] for row in rows) + slack < matches[k - 1].similarity:
            return matches[:k]
        limit *= _MORE


def _candidates(
    connection: Connection, how: Search, probe: NDArray[np.float32], limit: int
) -> list[tuple[str, str | None, NDArray[np.float32], float]]:
    """At most `limit` rows: person, face, embedding, similarity in float32."""
    text = _MEANS if how.template == "mean" else _FACES
    order = "embedding <#> %(probe)s" if how.approximate else f"{_EXACT} DESC"
    statement = text.replace("{similarity}", _EXACT).replace("{order}", order)
    with connection.cursor(binary=True) as cursor:
        cursor.execute(statement, {"probe": Vector(probe), "limit": limit})
        return cursor.fetchall()


def _best(
    rows: list[tuple[str, str | None, NDArray[np.float32], float]], template: Template, probe: NDArray[np.float32]
) -> tuple[Match, ...]:
    if not rows:
        return ()
    exact = (np.stack([row[2] for row in rows]).astype(np.float64) * probe.astype(np.float64)).sum(axis=1)
    found = [
        Match(person=row[0], face=row[1], similarity=similarity)
        for row, similarity in zip(rows, exact.tolist(), strict=True)
    ]
    found.sort(key=lambda match: (-match.similarity, match.person, match.face or ""))
    if template == "all":
        return tuple(found)
    first: dict[str, Match] = {}
    for match in found:
        first.setdefault(match.person, match)
    return tuple(first.values())
