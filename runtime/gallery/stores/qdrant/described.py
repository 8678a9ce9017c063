"""What a gallery in Qdrant says of itself: a point of its journal."""

from __future__ import annotations

from qdrant_client import models

from efq.runtime.errors import GalleryError, UsageError
from efq.runtime.gallery.record import GalleryRecord
from efq.runtime.gallery.stores.open import StoreOptions
from efq.runtime.gallery.stores.qdrant.journal import name_identifier
from efq.runtime.gallery.stores.qdrant.points import Points
from efq.runtime.gallery.stores.store import TEMPLATES, Template

LAYOUT = 1
_RECORD = name_identifier("record", "")


def open_record(faces: Points, journal: Points, options: StoreOptions) -> tuple[GalleryRecord, Template]:
    """The record and the template, of a gallery that is there or is made. Raises as `open_gallery`."""
    if not journal.is_there():
        if not options.create:
            message = "expected a gallery in the collection, found none; enroll somebody first"
            raise UsageError(message)
        if faces.is_there():
            message = "expected a gallery of EFQ's, found a collection of that name without its journal; name another"
            raise GalleryError(message)
        _make(faces, journal, options)
    record, template = read_record(journal)
    record.check_probes(options.model)
    if options.template not in (None, template):
        message = f"expected the gallery's template, {template!r}, found {options.template!r}"
        raise UsageError(message)
    return record, template


def read_record(journal: Points) -> tuple[GalleryRecord, Template]:
    """What the gallery says. Raises GalleryError for another version's, SchemaError for a damaged record."""
    found = journal.get([_RECORD])
    payload = (found[0].payload or {}) if found else {}
    if payload.get("layout") != LAYOUT or payload.get("template") not in TEMPLATES:
        message = (
            f"expected a gallery of layout {LAYOUT}, found {payload.get('layout', 'none')}; where it is just being "
            "made, open it again, otherwise use the version of EFQ that made it"
        )
        raise GalleryError(message)
    return GalleryRecord.from_json(str(payload["record"])), payload["template"]


def _make(faces: Points, journal: Points, options: StoreOptions) -> None:
    faces.make(options.record.model.embedding_size)
    journal.make(1)
    payload = {
        "kind": "record",
        "layout": LAYOUT,
        "record": options.record.to_json(),
        "template": options.template or "best",
    }
    journal.write([models.PointStruct(id=_RECORD, vector=[1.0], payload=payload)])
