"""Enrolled people in a Qdrant cluster."""

from __future__ import annotations

from efq.runtime.gallery.stores.qdrant.opening import open_store

__all__ = ["open_store"]
