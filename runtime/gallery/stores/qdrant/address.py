"""Where a gallery in Qdrant is."""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import unquote, urlsplit

from efq.runtime.errors import UsageError

USUAL_PORT = 6333
_COLLECTION = re.compile(r"[A-Za-z0-9_-]{1,200}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Address:
    """collection: holds the gallery's points; another, of its name with "-journal", what is being changed."""

    host: str
    port: int
    is_encrypted: bool
    api_key: str | None = dataclasses.field(repr=False)
    collection: str

    @property
    def shown(self) -> str:
        """Without the key."""
        return f"{self.host}:{self.port}, collection {self.collection}"


def parse_address(place: str) -> Address:
    """Of "qdrants://:API_KEY@HOST:PORT/COLLECTION", without a key where there is none.

    Raises UsageError, which names no part of an address that cannot be read: any of it may be the key.
    """
    try:
        parts = urlsplit(place)
        port = parts.port or USUAL_PORT
    except ValueError:
        parts, port = urlsplit("qdrant:"), 0
    collection = parts.path.removeprefix("/")
    if not parts.hostname or parts.query or parts.fragment or parts.username or not _COLLECTION.fullmatch(collection):
        message = (
            "expected a gallery at qdrants://:API_KEY@HOST:PORT/COLLECTION, with a collection of A-Z, a-z, 0-9, _ "
            "and -; found another address; write characters such as @ : / of a key as %40 %3A %2F"
        )
        raise UsageError(message)
    is_encrypted = parts.scheme == "qdrants"
    if parts.password and not is_encrypted and parts.hostname not in _LOOPBACK:
        message = f"expected an API key to be sent by TLS only, found qdrant:// to {parts.hostname}; use qdrants://"
        raise UsageError(message)
    return Address(
        host=parts.hostname,
        port=port,
        is_encrypted=is_encrypted,
        api_key=unquote(parts.password) if parts.password else None,
        collection=collection,
    )
