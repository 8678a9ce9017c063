"""What each way of a migration makes of a gallery."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from efq.runtime.errors import GateError, IncompatibleArtifactError
from efq.runtime.gallery.dual import DualGallery
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import GalleryRecord, Origin
from efq.runtime.gallery.scale import fit_scale, impostor_similarities
from efq.toolchain.migration.compatible import bind, certified, check_loss
from efq.toolchain.migration.crops import Crops, refuse_missing
from efq.toolchain.migration.map_certificate import MapCertificate, check_map
from efq.toolchain.migration.mapping import LinearMap
from efq.toolchain.migration.models import OpenModel
from efq.toolchain.migration.ordering import CENTRAL, MAP
from efq.toolchain.migration.reembed import Reembedding

SCALE_FACES = 512
"""Drawn at random and embedded first, for the scale on which two models' scores are merged."""


def keep_compatible(gallery: Gallery, new: OpenModel, *, max_loss: float, deployed: float | None = None) -> Gallery:
    """The same embeddings, bound to probes of the new model.

    Raises IncompatibleArtifactError without a certificate of both models, GateError for one that failed or loses more
    than `max_loss` points.
    """
    found = certified(gallery.record.model, new)
    check_loss(found, max_loss)
    return bind(gallery, new, found, deployed=deployed)


def map_gallery(
    gallery: Gallery, new: OpenModel, mapping: LinearMap, certificate: MapCertificate, *, max_loss: float
) -> Gallery:
    """Every embedding mapped into the new model's space.

    Raises GateError for a map that loses more than `max_loss` points, IncompatibleArtifactError for one of another
    model than the gallery's.
    """
    if gallery.record.model != certificate.old or not certificate.new.same_as(new.model):
        message = f"expected a map from {gallery.record.model} to {new.model}, found one from {certificate.old}"
        raise IncompatibleArtifactError(message)
    check_map(certificate, max_loss)
    record = GalleryRecord(
        model=new.model, origin=Origin(kind="map", model=gallery.record.model, figures=certificate.to_dict())
    )
    return Gallery.of(mapping.apply(gallery.embeddings), gallery.people, gallery.faces, record, hashes=gallery.hashes)


def prepare(
    gallery: Gallery,
    crops: Crops,
    parts: Path,
    *,
    measure: str | None = None,
    sample: int = SCALE_FACES,
    allow_missing: bool = False,
    seed: int = 0,
) -> Reembedding:
    """The work of embedding all crops in the order of `measure`, after `sample` faces drawn at random.

    A `measure` of None is "map" for a mapped gallery, and else "central". Raises InputError where crops are missing and
    not `allow_missing`.
    """
    origin = gallery.record.origin
    chosen = measure or (MAP if origin is not None and origin.kind == "map" else CENTRAL)
    missing = crops.missing(gallery)
    if not allow_missing:
        refuse_missing(gallery, missing, crops.root)
    rows = np.flatnonzero(~missing)
    return Reembedding(gallery=gallery, rows=rows, measure=chosen, sample=sample, seed=seed, crops=crops, parts=parts)


def merge_both(work: Reembedding, new: OpenModel, *, max_loss: float) -> DualGallery:
    """The gallery of both models as far as `work` is done: those drawn first at least.

    Faces that wait are searched by the new model where they were mapped to it, or its certificate says that they may
    be. The scales are of the faces drawn, by both models. Raises InputError where these are too few.
    """
    done, waiting = work.result(new), _searchable(work.waiting, new, max_loss=max_loss)
    drawn = work.drawn
    old, fresh = work.gallery.embeddings[drawn], done.embeddings[np.isin(done.faces, work.gallery.faces[drawn])]
    codes = np.unique(work.gallery.people[drawn], return_inverse=True)[1]
    by_new = waiting.record.allows(new.model)
    return DualGallery(
        old=waiting,
        new=done,
        old_scale=fit_scale(impostor_similarities(old, fresh if by_new else old, codes)),
        new_scale=fit_scale(impostor_similarities(fresh, fresh, codes)),
    )


def _searchable(waiting: Gallery, new: OpenModel, *, max_loss: float) -> Gallery:
    """Bound to probes of the new model where its certificate allows that, else as it is."""
    if waiting.record.allows(new.model):
        return waiting
    try:
        return keep_compatible(waiting, new, max_loss=max_loss)
    except (IncompatibleArtifactError, GateError):
        return waiting
