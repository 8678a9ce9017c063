"""A gallery is kept where a certificate of both models says so, and nowhere else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from galleries import make_gallery
from messages import names, raises_naming

from efq.runtime import InputContract
from efq.runtime.certificate.binding import Gate
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.errors import GateError, IncompatibleArtifactError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import EmbeddingModel
from efq.toolchain.migration.models import OpenModel
from efq.toolchain.migration.ways import keep_compatible

EXAMPLE = Path(__file__).parents[1] / "data" / "certificate.json"


@pytest.fixture
def certificate() -> Certificate:
    return Certificate.from_json(EXAMPLE.read_text())


def open_with(certificate: Certificate | None, *, sha256: str | None = None) -> OpenModel:
    known = "e" * 64 if certificate is None else certificate.binding.model_sha256
    return OpenModel(
        path=Path("artifact"),
        model=EmbeddingModel(sha256=sha256 or known, name="student", embedding_size=32),
        contract=InputContract(),
        embed=lambda images: np.zeros((len(images), 32), np.float32),
        certificate=certificate,
        certificate_sha256=None if certificate is None else "d" * 64,
    )


def gallery_of(sha256: str | None) -> Gallery:
    gallery = make_gallery()
    model = EmbeddingModel(sha256=sha256, name="teacher", embedding_size=32)
    return dataclasses.replace(gallery, record=dataclasses.replace(gallery.record, model=model))


def test_it_is_bound_to_both_models_and_the_thresholds_of_the_mixture(certificate: Certificate) -> None:
    gallery = gallery_of(certificate.binding.teacher_sha256)
    kept = keep_compatible(gallery, open_with(certificate), max_loss=5)
    assert kept.embeddings is gallery.embeddings
    bound = kept.record.searched_by
    assert bound is not None
    assert bound.certificate_sha256 == "d" * 64
    mixed = certificate.arrangement("teacher", "student")
    assert set(bound.thresholds.values()) == {point.threshold for point in mixed.points if point.enough_impostors}
    assert list(bound.deployed.values()) == [mixed.remapped.threshold]
    names(bound.statement, "student", "teacher", f"{mixed.remapped.threshold:.4g}")
    kept.record.check_probes(open_with(certificate).model)
    deployed = certificate.deployed.threshold
    assert keep_compatible(gallery, open_with(certificate), max_loss=5, deployed=deployed).record == kept.record
    with raises_naming(IncompatibleArtifactError, f"{deployed:g}", 0.99):
        keep_compatible(gallery, open_with(certificate), max_loss=5, deployed=0.99)


def test_without_a_certificate_of_both_it_is_refused(certificate: Certificate) -> None:
    teacher = certificate.binding.teacher_sha256
    with raises_naming(IncompatibleArtifactError, "--certify"):
        keep_compatible(gallery_of(teacher), open_with(None), max_loss=5)
    with raises_naming(IncompatibleArtifactError, "--old-model"):
        keep_compatible(gallery_of(None), open_with(certificate), max_loss=5)
    with pytest.raises(IncompatibleArtifactError):
        keep_compatible(gallery_of("f" * 64), open_with(certificate), max_loss=5)
    with pytest.raises(IncompatibleArtifactError):
        keep_compatible(gallery_of(teacher), open_with(certificate, sha256="f" * 64), max_loss=5)


def test_a_certificate_that_failed_or_loses_too_much_is_refused(certificate: Certificate) -> None:
    teacher = certificate.binding.teacher_sha256
    failed = dataclasses.replace(certificate, gates=(Gate(name="--max-drop", limit=0.1, found=0.7, unit="points"),))
    with raises_naming(GateError, "--max-drop", 0.1):
        keep_compatible(gallery_of(teacher), open_with(failed), max_loss=5)
    mixed = certificate.arrangement("teacher", "student")
    worst = 100 * max(max(drop.value for drop in mixed.drops), mixed.search.rank1_drop.value if mixed.search else 0)
    with raises_naming(GateError, "--max-loss"):
        keep_compatible(gallery_of(teacher), open_with(certificate), max_loss=0)
    keep_compatible(gallery_of(teacher), open_with(certificate), max_loss=worst)
