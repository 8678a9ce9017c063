"""The page's files, read once, and what they are sent with."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

from efq.runtime.errors import UsageError

INDEX = "index.html"

CONTENT_TYPES = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",  # a text that becomes markup is an error, not a hole
        "trusted-types 'none'",
    )
)

SECURITY_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asset:
    """A file of the page. etag: with its quotes, of the content's SHA-256."""

    content: bytes
    content_type: str
    etag: str

    @property
    def headers(self) -> dict[str, str]:
        """What it is sent with: it may be kept, but is asked for by its ETag each time."""
        return {"Cache-Control": "no-cache", "ETag": self.etag, **SECURITY_HEADERS}

    def is_held(self, if_none_match: str | None) -> bool:
        """Whether a client that sent this If-None-Match has the content already (RFC 9110, 13.1.2)."""
        held = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
        return self.etag in held or held == ["*"]


def read_assets() -> Mapping[str, Asset]:
    """Every file of the page by its name. Raises UsageError for an installation without them."""
    assets = {}
    for file in resources.files(__package__).iterdir():
        content_type = CONTENT_TYPES.get(file.name[file.name.rfind(".") :])
        if content_type is not None:
            content = file.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            assets[file.name] = Asset(content=content, content_type=content_type, etag=etag)
    if INDEX not in assets:
        message = f"expected {INDEX} beside the module {__package__}, found none; install efq again"
        raise UsageError(message)
    return MappingProxyType(assets)
