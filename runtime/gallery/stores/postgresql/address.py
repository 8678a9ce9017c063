"""Where a gallery in PostgreSQL is: the connection, and the schema of the database that holds it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from efq.runtime.errors import UsageError

USUAL_SCHEMA = "efq"
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_USUAL: Mapping[str, str] = MappingProxyType(
    {
        "application_name": "efq",
        "connect_timeout": "10",
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Address:
    """parameters: libpq's, the password among them. schema: holds the gallery's tables."""

    parameters: Mapping[str, str] = dataclasses.field(repr=False)
    schema: str

    @property
    def shown(self) -> str:
        """The server and the database, without user and password."""
        host = self.parameters.get("host") or self.parameters.get("hostaddr") or "the local socket"
        return f"{host}, database {self.parameters.get('dbname') or 'of the user'}, schema {self.schema}"

    def without_password(self, text: str) -> str:
        """The text on one line, as it may be shown."""
        password = self.parameters.get("password")
        line = " ".join(text.split())
        return line.replace(password, "...") if password else line


def parse_address(place: str) -> Address:
    """Of "postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME", with libpq's other parameters.

    Raises UsageError, which names no part of an address that cannot be read: any of it may be the password.
    """
    base, _, query = place.partition("?")
    _, _, path = base.partition("://")[2].partition("/")
    try:
        if "@" in path:  # of a password with a slash, which would be taken for a database's name
            raise ValueError
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        schemas = [value for name, value in pairs if name == "schema"]
        others = urlencode([pair for pair in pairs if pair[0] != "schema"], quote_via=quote)
        found = conninfo_to_dict(f"{base}?{others}" if others else base)
        if not str(found.get("port") or "").replace(",", "").isdecimal() and found.get("port"):
            raise ValueError
    except (psycopg.Error, ValueError):
        message = (
            "expected a gallery at postgresql://USER:PASSWORD@HOST:PORT/DATABASE, found an address that cannot "
            "be read; write characters such as @ : / of a password as %40 %3A %2F, or keep it in ~/.pgpass"
        )
        raise UsageError(message) from None
    schema = schemas[-1] if schemas else USUAL_SCHEMA
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_") or schema in ("public", "information_schema"):
        message = f"expected a schema of the gallery's own, of a-z, 0-9 and _, such as {USUAL_SCHEMA}; found {schema!r}"
        raise UsageError(message)
    given = {name: str(value) for name, value in found.items() if value is not None}
    return Address(parameters=MappingProxyType(dict(_USUAL) | given), schema=schema)
