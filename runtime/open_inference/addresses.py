"""Where a server is, and what it is asked with, found to be so before anything is sent."""

from __future__ import annotations

import dataclasses
import urllib.parse
from typing import Self

from efq.runtime.errors import UsageError

_PORTS = {"http": 80, "https": 443}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Address:
    """Of http or https. path: in front of the protocol's own paths, without a slash at its end; usually empty."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """From http://HOST[:PORT][/PATH]. Raises UsageError for another form."""
        try:
            parts = urllib.parse.urlsplit(url)
            port, host = parts.port, parts.hostname
        except ValueError:
            parts, port, host = urllib.parse.urlsplit(""), None, None
        fits = parts.scheme in _PORTS and host and not (parts.query or parts.fragment or "@" in parts.netloc)
        if not fits or not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
            message = (
                "expected the address of a server, http://HOST:PORT or https://HOST, without a name, a password, a "
                "query or a fragment, found another"
            )
            raise UsageError(message)
        assert host is not None
        path = parts.path.rstrip("/")
        return cls(scheme=parts.scheme, host=host, port=port or _PORTS[parts.scheme], path=path)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def authorization(api_key: str | None) -> dict[str, str]:
    """The headers that carry a key. Raises UsageError, without the key, for one that no header can hold."""
    if api_key is None:
        return {}
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        message = "expected an API key of printable ASCII characters without spaces, found another"
        raise UsageError(message)
    return {"Authorization": f"Bearer {api_key}"}
