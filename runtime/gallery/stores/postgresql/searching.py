"""Search by pgvector: it names candidates in float32, of all rows or by an index that the user chose."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import LiteralString

import numpy as np
from numpy.typing import NDArray

from efq.runtime.gallery.stores.candidates import Candidates, best_matches
from efq.runtime.gallery.stores.postgresql.connections import Connection
from efq.runtime.gallery.stores.postgresql.vectors import Vector
from efq.runtime.gallery.stores.store import Match, Template

# An expression that no index of the operator is for, whoever made one: a scan of all rows.
_EXACT: LiteralString = "-(embedding <#> %(probe)s)"
_FACES: LiteralString = """
SELECT p.name, f.name, b.embedding, b.similarity
FROM (SELECT face, embedding, {similarity} AS similarity FROM embeddings WHERE face > 0
      ORDER BY {order} LIMIT %(limit)s) b
JOIN faces f ON f.id = b.face JOIN people p ON p.id = f.person
"""
_MEANS: LiteralString = """
SELECT p.name, '', b.embedding, b.similarity
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

    def candidates(limit: int) -> Candidates:
        return _candidates(connection, how, probe, limit)

    return best_matches(candidates, probe, k, how.template, is_exact=not how.approximate)


def _find_by_index(connection: Connection) -> None:
    """Until the transaction ends."""
    connection.execute(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('hnsw.ef_search', '200', true),"
        " set_config('hnsw.iterative_scan', 'strict_order', true)"
    )


def _candidates(connection: Connection, how: Search, probe: NDArray[np.float32], limit: int) -> Candidates:
    text = _MEANS if how.template == "mean" else _FACES
    order = "embedding <#> %(probe)s" if how.approximate else f"{_EXACT} DESC"
    statement = text.replace("{similarity}", _EXACT).replace("{order}", order)
    with contextlib.ExitStack() as stack:
        if how.approximate:
            stack.enter_context(connection.transaction())
            _find_by_index(connection)
        cursor = stack.enter_context(connection.cursor(binary=True))
        rows = cursor.execute(statement, {"probe": Vector(probe), "limit": limit}).fetchall()
    return Candidates(
        people=[row[0] for row in rows],
        faces=[row[1] for row in rows],
        embeddings=np.array([row[2] for row in rows], np.float32).reshape(len(rows), len(probe)),
        least=min(row[3] for row in rows) if len(rows) == limit else None,
    )
