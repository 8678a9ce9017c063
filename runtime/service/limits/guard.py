"""Who may ask: a key, or a browser's page of this very service on this machine."""

from __future__ import annotations

import hashlib
import hmac
import urllib.parse
from collections.abc import Callable, Collection, Sequence

from efq.runtime.service.errors import ApiError
from efq.runtime.service.limits.answers import App, Receive, Scope, Send, header, headers_of

_OPEN = ("/", "/v2/health/live", "/v2/health/ready")
_OPEN_BELOW = "/page/"
_SAFE = ("GET", "OPTIONS")
_LONGEST = 16_384  # bytes of a path, or of a query: a name of 1,024 characters takes 12,288 in either


class Guard:
    """keys: one of which has to come with everything but the page's files and health; none asks for none.

    Without keys, what a web page elsewhere may have a browser send is refused: hosts (names without ports, lower case)
    are the only ones answered where there are any, so that no name of a stranger leads here, and requests that change
    something come from no other origin. rejected: is told the code of what is refused.
    """

    def __init__(
        self, app: App, *, keys: Sequence[str], hosts: Collection[str], rejected: Callable[[str], None]
    ) -> None:
        self._app = app
        self._digests = [_digest(key) for key in keys]
        self._hosts = frozenset(hosts)
        self._rejected = rejected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except ApiError as error:
                self._rejected(error.code)
                raise
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        _check_text(scope)
        _check_framing(scope)
        if not self._digests:
            self._check_host(scope)
            _check_origin(scope)
        elif not _is_open(scope) and not self._has_key(scope):
            message = "expected one of the service's API keys, as Authorization: Bearer KEY or X-API-Key: KEY"
            raise ApiError(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})

    def _has_key(self, scope: Scope) -> bool:
        given = headers_of(scope, b"x-api-key")
        for value in headers_of(scope, b"authorization"):
            scheme, _, key = value.partition(" ")
            if scheme.lower() == "bearer":
                given.append(key.strip())
        found = False
        for key in given[:2]:
            digest = _digest(key)
            for own in self._digests:  # all of them, in the same time
                found |= hmac.compare_digest(digest, own)
        return found

    def _check_host(self, scope: Scope) -> None:
        if self._hosts and _host_name(header(scope, b"host") or "") not in self._hosts:
            message = f"expected a Host of {', '.join(sorted(self._hosts))}, found another; name it with --allow-host"
            raise ApiError(421, "unknown_host", message)


def _is_open(scope: Scope) -> bool:
    path = scope["path"]
    return scope["method"] == "GET" and (path in _OPEN or path.startswith(_OPEN_BELOW))


def _check_text(scope: Scope) -> None:
    """Raise ApiError for an address that is no text in UTF-8, or that is longer than any."""
    for part in (scope.get("raw_path") or b"", scope.get("query_string", b"")):
        if len(part) > _LONGEST:
            raise ApiError(414, "address_too_long", f"expected a path and a query of at most {_LONGEST:,} bytes")
        try:
            urllib.parse.unquote_to_bytes(part).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ApiError(400, "bad_address", "expected UTF-8, percent-encoded, in the address") from error


def _check_framing(scope: Scope) -> None:
    """Raise ApiError for a body of two lengths: a proxy in front may have taken the other one (RFC 9112, 6.3)."""
    if header(scope, b"transfer-encoding") is not None and header(scope, b"content-length") is not None:
        message = "expected a body in chunks or of a length, found both Transfer-Encoding and Content-Length"
        raise ApiError(400, "bad_http", message, {"Connection": "close"})


def _check_origin(scope: Scope) -> None:
    """Raise ApiError where a browser says that a page of another origin has it change something here."""
    if scope["method"] in _SAFE:
        return
    origin = header(scope, b"origin")
    elsewhere = header(scope, b"sec-fetch-site") in ("cross-site", "same-site")
    if origin is not None:
        elsewhere |= origin.partition("://")[2].lower() != (header(scope, b"host") or "").lower()
    if elsewhere:
        raise ApiError(403, "foreign_origin", "expected no request from a page of another origin")


def _host_name(host: str) -> str:
    name = host.strip().lower()
    if name.startswith("["):
        return name[: name.find("]") + 1]
    return name.partition(":")[0]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
