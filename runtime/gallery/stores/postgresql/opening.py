"""The opener of the table of kinds: psycopg is imported by a gallery in PostgreSQL only."""

from __future__ import annotations

import typing

from efq.runtime.errors import MissingDependencyError

if typing.TYPE_CHECKING:
    from efq.runtime.gallery.stores.open import StoreOptions
    from efq.runtime.gallery.stores.store import GalleryStore


def open_store(options: StoreOptions) -> GalleryStore:
    """Open or make the gallery. Raises as `open_gallery`."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        message = f"a gallery in PostgreSQL needs psycopg, which cannot be imported ({error}); install it with: "
        message += "pip install 'efq[postgres]'"
        raise MissingDependencyError(message) from error
    from efq.runtime.gallery.stores.postgresql.store import PostgresqlStore

    return PostgresqlStore.open(options)
