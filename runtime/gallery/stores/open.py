"""The one door to enrolled people: what keeps them is told by where they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from efq.runtime.arguments import flag, instance_of, path_of
from efq.runtime.artifact.folder import Artifact
from efq.runtime.errors import UsageError
from efq.runtime.gallery.models import model_of
from efq.runtime.gallery.record import EmbeddingModel, GalleryRecord
from efq.runtime.gallery.stores.store import TEMPLATES, GalleryStore, Template
from efq.runtime.gallery.stores.thresholds import FmrThresholds


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """How a store is opened.

    place: as the user named it. model: whose embeddings are enrolled and searched by. template: None takes that of the
    gallery, or "best" for a new one; another than the gallery's is a UsageError. create: make it where there is none.
    record: of a new one.
    """

    place: str
    model: EmbeddingModel
    record: GalleryRecord
    thresholds: FmrThresholds
    template: Template | None
    create: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoreKind:
    """A row of the table: the places that are its own, by what they begin with, and the function that opens one."""

    prefixes: tuple[str, ...]
    opener: str

    def open(self, options: StoreOptions) -> GalleryStore:
        """Raises MissingDependencyError where its package is not installed."""
        module, _, name = self.opener.partition(":")
        function: Callable[[StoreOptions], GalleryStore] = getattr(import_module(module), name)
        return function(options)


STORE_KINDS: Mapping[str, StoreKind] = MappingProxyType(
    {
        "postgresql": StoreKind(
            prefixes=("postgresql://", "postgres://"), opener="efq.runtime.gallery.stores.postgresql:open_store"
        ),
        "qdrant": StoreKind(
            prefixes=("qdrant://", "qdrants://"), opener="efq.runtime.gallery.stores.qdrant:open_store"
        ),
        "sqlite": StoreKind(prefixes=(), opener="efq.runtime.gallery.stores.sqlite.store:open_store"),
    }
)


def open_gallery(
    place: Path | str,
    artifact: Artifact | EmbeddingModel,
    *,
    template: Template | None = None,
    create: bool = True,
    record: GalleryRecord | None = None,
) -> GalleryStore:
    """Open the people who are enrolled at `place` with the model of an artifact, or make a gallery there.

    place: a file (SQLite) in a folder that is there, "postgresql://USER@HOST/DATABASE" or
    "qdrant://HOST:PORT/COLLECTION" ("qdrants" with TLS). An artifact's certificate gives the thresholds for FMRs.
    record: of a new gallery, where it is to hold embeddings of another model that probes of this one may search, as
    that of a file of `efq-migrate --by compatible` says.

    Raises IncompatibleArtifactError for people enrolled with another model whose probes no certificate allows,
    GalleryError for a database that cannot be used, UsageError for another template, where there is no gallery and
    not `create` or no folder to make it in, and for arguments of another type; MissingDependencyError
    without the package for that kind of database.
    """
    text = place if isinstance(place, str) else str(path_of(place, "a gallery, or its address"))
    if not text.strip() or "\0" in text:
        message = f"expected a file or an address of a gallery, found {text[:100]!r}"
        raise UsageError(message)
    if template is not None and not (isinstance(template, str) and template in TEMPLATES):
        message = f"expected a template of {', '.join(TEMPLATES)}, found {repr(template)[:100]}"
        raise UsageError(message)
    if isinstance(artifact, EmbeddingModel):
        model, thresholds = artifact, FmrThresholds()
    else:
        instance_of(artifact, Artifact, "an artifact, as Artifact.open(FOLDER) and Embedder.artifact are")
        model, thresholds = model_of(artifact), FmrThresholds.of(artifact)
    if record is None:
        record = GalleryRecord(model=model)
    instance_of(record, GalleryRecord, "the record of a gallery, as read_gallery(FILE).record is")
    record.check_probes(model)
    store = _kind_of(text).open(
        StoreOptions(
            place=text,
            model=model,
            record=record,
            thresholds=thresholds,
            template=template,
            create=flag(create, "create"),
        )
    )
    store.opened_for = model
    return store


def _kind_of(place: str) -> StoreKind:
    for kind in STORE_KINDS.values():
        if place.startswith(kind.prefixes):
            return kind
    scheme, found, _ = place.partition("://")
    if found:
        known = ", ".join(prefix for kind in STORE_KINDS.values() for prefix in kind.prefixes)
        message = f"expected a file, or an address that begins with one of {known}; found {scheme}://"
        raise UsageError(message)
    return STORE_KINDS["sqlite"]
