"""A gallery that stays as it is: the new artifact's certificate says that its probes may search it."""

from __future__ import annotations

import dataclasses

from efq.runtime.certificate.certificate import Certificate
from efq.runtime.certificate.galleries import Arrangement
from efq.runtime.errors import GateError, IncompatibleArtifactError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import EmbeddingModel, SearchedBy
from efq.toolchain.evaluation.figures.rates import far_name
from efq.toolchain.migration.models import OpenModel

_HUNDRED = 100.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compatibility:
    """What a certificate says of new probes in a gallery of `gallery`; the losses in points of a hundred.

    arrangement: the certificate's figures of this mixture. loss: TAR lost beside the old model alone at the certified
    FMR. rank1_loss: the same of searches that find the person first, None where none were measured.
    """

    gallery: EmbeddingModel
    fmr: float
    arrangement: Arrangement
    loss: float
    rank1_loss: float | None

    @property
    def worst(self) -> float:
        """The larger loss."""
        return self.loss if self.rank1_loss is None else max(self.loss, self.rank1_loss)


def certified(gallery: EmbeddingModel, new: OpenModel) -> Compatibility:
    """The certificate's figures, if it is of the gallery's model and the new one and passed its gates.

    Raises IncompatibleArtifactError for a model without a certificate, a gallery of an unknown model and a certificate
    of other models; GateError for one that failed a gate.
    """
    certificate = new.certificate
    if certificate is None:
        message = f"expected a certificate of {new.model.name}, found none; certify the artifact: efq-bench --certify"
        raise IncompatibleArtifactError(message)
    if gallery.sha256 is None:
        message = (
            f"expected a gallery of a known model, found {gallery}; name the file of the model it was enrolled with "
            "(--old-model)"
        )
        raise IncompatibleArtifactError(message)
    bound = certificate.binding
    if (gallery.sha256, new.model.sha256) != (bound.teacher_sha256, bound.model_sha256):
        message = (
            f"expected a certificate of probes by {new.model} in a gallery of {gallery}, found one of "
            f"{bound.model_sha256[:16]}... in a gallery of {bound.teacher} ({bound.teacher_sha256[:16]}...)"
        )
        raise IncompatibleArtifactError(message)
    failed = [gate for gate in certificate.gates if not gate.passed]
    if failed:
        listed = ", ".join(f"{gate.name} {gate.limit:g} (found {gate.found:.3g} {gate.unit})" for gate in failed)
        message = f"expected a certificate that passed its gates, found one that failed {listed}"
        raise GateError(message)
    return _compatibility(gallery, certificate)


def _compatibility(gallery: EmbeddingModel, certificate: Certificate) -> Compatibility:
    found = certificate.arrangement("teacher", "student")
    fmr = certificate.protocol.certified_fmr
    places = [place for place, point in enumerate(found.points) if point.fmr >= fmr * (1 - 1e-9)]
    place = places[-1] if places else 0  # points run from the highest FMR to the lowest
    return Compatibility(
        gallery=gallery,
        fmr=found.points[place].fmr,
        arrangement=found,
        loss=_HUNDRED * found.drops[place].value,
        rank1_loss=None if found.search is None else _HUNDRED * found.search.rank1_drop.value,
    )


def check_loss(found: Compatibility, most: float) -> None:
    """Raise GateError where more than `most` points are lost."""
    if found.worst > most:
        message = (
            f"expected at most {most:g} points lost by searching the old gallery with the new model, found "
            f"{found.loss:.2f} at FMR {far_name(found.fmr)}"
            + ("" if found.rank1_loss is None else f" and {found.rank1_loss:.2f} at rank 1")
            + "; embed the crops again (--by re-embed), or allow more (--max-loss)"
        )
        raise GateError(message)


def bind(gallery: Gallery, new: OpenModel, found: Compatibility, *, deployed: float | None = None) -> Gallery:
    """The same gallery, with the certificate's statement and the thresholds for probes of the new model.

    `deployed`: the threshold in use, for which the certificate has to name the new one.

    Raises IncompatibleArtifactError where it is of another threshold.
    """
    assert new.certificate is not None
    assert new.certificate_sha256 is not None
    known = new.certificate.deployed.threshold
    if deployed is not None and abs(known - deployed) > 1e-6:
        message = (
            f"expected a certificate of the deployed threshold {deployed:g}, found one of {known:g}; certify the "
            f"artifact for it: efq-bench --certify --deployed-threshold {deployed:g}"
        )
        raise IncompatibleArtifactError(message)
    remapped = found.arrangement.remapped
    points = [point for point in found.arrangement.points if point.enough_impostors]
    statement = (
        f"probes by {new.model.name} search this gallery of {gallery.record.model.name}: at FMR {far_name(found.fmr)} "
        f"{found.loss:.2f} points of genuine matches are lost; "
        f"for the threshold {known:.4g} take {remapped.threshold:.4g}"
    )
    bound = SearchedBy(
        model=new.model,
        thresholds={far_name(point.fmr): point.threshold for point in points},
        deployed={f"{known:.6g}": remapped.threshold},
        certificate_sha256=new.certificate_sha256,
        statement=statement,
    )
    return dataclasses.replace(gallery, record=dataclasses.replace(gallery.record, searched_by=bound))
