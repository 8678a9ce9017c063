"""The opener of the table of kinds: qdrant_client is imported by a gallery in Qdrant only."""

from __future__ import annotations

import typing

from efq.runtime.errors import MissingDependencyError

if typing.TYPE_CHECKING:
    from efq.runtime.gallery.stores.open import StoreOptions
    from efq.runtime.gallery.stores.store import GalleryStore


def open_store(options: StoreOptions) -> GalleryStore:
    """Open or make the gallery. Raises as `open_gallery`."""
    try:
        import qdrant_client  # noqa: F401
    except ImportError as error:
        message = f"a gallery in Qdrant needs qdrant-client, which cannot be imported ({error}); install it with: "
        message += "pip install 'efq[qdrant]'"
        raise MissingDependencyError(message) from error
    from efq.runtime.gallery.stores.qdrant.store import QdrantStore

    return QdrantStore.open(options)
