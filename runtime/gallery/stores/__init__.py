"""People who are enrolled, kept for good: one interface, a store a kind of database behind it."""

from __future__ import annotations

from efq.runtime.gallery.stores.open import open_gallery
from efq.runtime.gallery.stores.store import GalleryStore, Match, Person, StoreSize, Template, Verification

__all__ = ["GalleryStore", "Match", "Person", "StoreSize", "Template", "Verification", "open_gallery"]
