"""Enrolled people in PostgreSQL, with the extension pgvector."""

from __future__ import annotations

from efq.runtime.gallery.stores.postgresql.opening import open_store

__all__ = ["open_store"]
