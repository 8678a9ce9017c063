"""Qdrant in this process: the client's local mode, in memory, behind the same code as a server.

No server of Qdrant comes as a package. Local mode is for tests: its files are pickles.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest

_numbers = itertools.count(1)
_clients: dict[str, Any] = {}


class OneAtATime:
    """Local mode, which knows no threads, for several; it outlives `close`, as a server does its clients."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.RLock()
        self.fails: Any = None

    def close(self) -> None:
        """A client goes; the data stay."""

    def create_payload_index(self, *arguments: Any, **options: Any) -> None:
        """Local mode has none, and warns."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            options.pop("search_params", None)  # is always exact, and warns
            with self._lock:
                if self.fails is not None:
                    self.fails(name, arguments)
                return method(*arguments, **options)

        return call


def new_place() -> str:
    """An address of no gallery yet. May skip the test."""
    qdrant_client = pytest.importorskip("qdrant_client")
    from efq.runtime.gallery.stores.qdrant import points

    if not _clients:
        original = points.connect
        points.connect = lambda address: _clients.get(address.host) or original(address)
    host = f"memory-{next(_numbers)}"
    _clients[host] = OneAtATime(qdrant_client.QdrantClient(":memory:"))
    return f"qdrant://{host}/faces"


def client_of(place: str) -> OneAtATime:
    """What is behind a place."""
    found: OneAtATime = _clients[place.split("/")[2]]
    return found
