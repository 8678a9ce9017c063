from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
from messages import names
from numpy.typing import NDArray
from rich.console import Console

from efq.toolchain.evaluation import (
    EvaluationReport,
    NetworkSummary,
    measure_agreement,
    measure_all_pairs,
    measure_folds,
)
from efq.toolchain.evaluation.figures.rates import far_name
from efq.toolchain.evaluation.table import report_parts

LABELS = np.repeat(np.arange(40), 3)


def embeddings(noise: float, size: int = 16) -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(40, size))[LABELS] + noise * generator.normal(size=(len(LABELS), size))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_one_network_has_no_difference() -> None:
    result = measure_all_pairs(embeddings(0.8), LABELS, fars=(1e-2, 1e-5))
    assert (result.images, result.identities, result.genuine_pairs, result.impostor_pairs) == (120, 40, 120, 7020)
    assert [row.enough_impostors for row in result.rows] == [True, False]
    row = result.rows[0]
    assert row.tar.low is not None
    assert row.tar.high is not None
    assert row.tar.low <= row.tar.value <= row.tar.high
    assert row.reference_tar is row.difference is None


def test_a_network_equals_itself() -> None:
    values = embeddings(0.8)
    result = measure_all_pairs(values, LABELS, reference=values)
    for row in result.rows:
        assert row.tar == row.reference_tar
        assert row.difference is not None
        assert (row.difference.value, row.difference.low, row.difference.high) == (0.0, 0.0, 0.0)
    agreement = measure_agreement(values, values, result)
    assert agreement.cosine_min == pytest.approx(1.0)
    assert agreement.equal_decisions == 1.0


def test_a_worse_network_has_a_negative_difference() -> None:
    result = measure_all_pairs(embeddings(1.2), LABELS, reference=embeddings(0.4), fars=(1e-2,))
    difference = result.rows[0].difference
    assert difference is not None
    assert difference.high is not None
    assert difference.value < 0.0
    assert difference.high < 0.0


def test_no_resamples_leave_no_intervals() -> None:
    result = measure_all_pairs(embeddings(0.8), LABELS, resamples=0)
    assert result.rows[0].tar.low is result.rows[0].tar.high is None


def test_agreement_of_other_sizes_is_of_decisions_only() -> None:
    first, second = embeddings(0.8), embeddings(0.8, size=24)
    agreement = measure_agreement(first, second, measure_all_pairs(first, LABELS, reference=second, resamples=0))
    assert agreement.cosine_mean is None
    assert agreement.cosine_different == pytest.approx(
        (first @ first.T)[np.triu_indices(len(first), 1)].mean(), abs=1e-6
    )
    assert agreement.equal_decisions is not None
    assert 0.9 < agreement.equal_decisions <= 1.0


def report(reference: bool) -> EvaluationReport:
    first, second = np.arange(119), np.arange(1, 120)
    model, other = embeddings(0.8), embeddings(0.7) if reference else None
    summary = NetworkSummary(kind="student", name="tiny", path="x.pt", sha256="0" * 64, training_images=1)
    pairs = measure_all_pairs(model, LABELS, reference=other, resamples=20)
    folds = measure_folds(
        "dev", model, first, second, LABELS[first] == LABELS[second], first % 5, reference=other, resamples=20
    )
    return EvaluationReport(
        model=summary,
        reference=summary if reference else None,
        faces="faces",
        faces_sha256="0" * 64,
        images=120,
        duplicates=(),
        unreadable=("a/b.jpg",),
        flip=False,
        resamples=20,
        clean=False,
        all_pairs=pairs,
        pairs=(folds,),
        agreement=measure_agreement(model, other, pairs) if other is not None else None,
    )


def text_of(found: EvaluationReport) -> str:
    """The report as a command prints it."""
    console = Console(file=io.StringIO(), width=150, highlight=False)
    for part in report_parts(found):
        console.print(part, markup=False, soft_wrap=isinstance(part, str))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("reference", [False, True])
def test_report_is_read_and_is_json(reference: bool) -> None:
    found = report(reference)
    text = text_of(found)
    assert found.all_pairs is not None
    for row in found.all_pairs.rows:
        (line,) = (line for line in text.splitlines() if f"TAR@FAR={far_name(row.far)}," in line)
        assert (f"{100 * row.tar.value:.2f}" in line) == row.enough_impostors
        assert ("impostor pairs" in line) == (not row.enough_impostors)
    names(text, "5-fold", "dev", f"{100 * found.pairs[0].accuracy.value:.2f}")
    assert ("reference" in text) == reference
    if found.agreement is not None:
        names(text, f"{found.agreement.cosine_min:.4f}", f"{100 * (found.agreement.equal_decisions or 0):.4f} %")
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["schema_version"] == 2
    assert values["all_pairs"]["rows"][0]["tar"]["value"] == found.all_pairs.rows[0].tar.value


def test_a_report_says_when_an_image_was_trained_on() -> None:
    found = report(reference=False)
    clean = text_of(dataclasses.replace(found, clean=True)).splitlines()
    (warning,) = set(text_of(found).splitlines()) - set(clean)
    names(warning, "fine-tuned")
