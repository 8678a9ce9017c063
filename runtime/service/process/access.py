"""Whose requests are answered: keys, and the names of this machine."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

from efq.runtime.errors import UsageError
from efq.runtime.reading import read_text

KEY_VARIABLE = "EFQ_API_KEY"
LEAST_KEY = 16
_LARGEST_FILE = 65_536
_NAMES = ("localhost", "127.0.0.1", "[::1]")


def api_keys(file: Path | None, variable: str | None) -> tuple[str, ...]:
    """The keys of a file, one a line, and that of the environment. Raises UsageError for a file without any, and keys
    that are shorter than `LEAST_KEY` characters or not of letters, digits and signs of ASCII."""
    lines: list[str] = []
    if file is not None:
        text = read_text(file, expected="a file of API keys", limit=_LARGEST_FILE, error_class=UsageError)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            message = f"expected API keys, one a line, in {file}, found none"
            raise UsageError(message)
    keys = [*lines, *([variable.strip()] if variable is not None else [])]
    for number, key in enumerate(keys, start=1):
        if len(key) < LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            where = f"line {number} of {file}" if number <= len(lines) else KEY_VARIABLE
            message = (
                f"expected an API key of at least {LEAST_KEY} characters of ASCII without spaces in {where}, found "
                "another; make one with: openssl rand -hex 32"
            )
            raise UsageError(message)
    return tuple(dict.fromkeys(keys))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. Raises UsageError for a name that has none."""
    return all(ipaddress.ip_address(address).is_loopback for address in _addresses(host))


def hosts_to_answer(host: str, more: Sequence[str]) -> tuple[str, ...]:
    """What a Host header may name, lower case, where there are no keys."""
    name = f"[{host}]" if ":" in host else host
    return tuple(dict.fromkeys(one.lower() for one in (*_NAMES, name, *more)))


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"expected an address or a name of this machine as --host, found {host}: {reason}"
        raise UsageError(message) from error
    return [str(address[0]).partition("%")[0] for *_, address in found]
