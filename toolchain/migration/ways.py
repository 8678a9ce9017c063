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
from efq.toolchain.migration.ordering import order_rows
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
    measure: str,
    mapping: LinearMap | None = None,
    sample: int = 0,
    allow_missing: bool = False,
    seed: int = 0,
) -> Reembedding:
    """The work of embedding all crops in the order of `measure`, after `sample` faces drawn at random.

    Raises InputError where crops are missing and not `allow_missing`.
    """
    missing = crops.missing(gallery)
    if not allow_missing:
        refuse_missing(gallery, missing, crops.root)
    order = order_rows(gallery, measure, mapping=mapping, seed=seed, first=sample)
    return Reembedding(gallery=gallery, order=order[~missing[order]], crops=crops, parts=parts)


def merge_both(work: Reembedding, new: OpenModel, *, max_loss: float) -> DualGallery:
    """The gallery of both models as far as `work` is done.

    Where the new model's certificate says that its probes may search the old gallery, they do. The scales are of the
    faces that were embedded first, by both models. Raises InputError where these are too few.
    """
    done = work.result(new)
    waiting = work.waiting
    cross = False
    try:
        waiting = keep_compatible(waiting, new, max_loss=max_loss)
        cross = True
    except (IncompatibleArtifactError, GateError):
        pass
    rows = work.order[: min(work.done, SCALE_FACES)]
    old = work.gallery.embeddings[rows]
    place = np.searchsorted(np.sort(work.order[: work.done]), rows)
    fresh = done.embeddings[place]
    codes = np.unique(work.gallery.people[rows], return_inverse=True)[1]
    return DualGallery(
        old=waiting,
        new=done,
        old_scale=fit_scale(impostor_similarities(old, fresh if cross else old, codes)),
        new_scale=fit_scale(impostor_similarities(fresh, fresh, codes)),
    )
