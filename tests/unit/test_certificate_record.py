"""certificate.json: written in one way, read strictly, and only beside the artifact it is about."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from artifacts import make_artifact
from messages import names, raises_naming
from text_mutations import certificate_of, mutated_text

from efq.benchmarks.certificate.page import certificate_page
from efq.export.inspection.inspect import inspect
from efq.runtime import SchemaError
from efq.runtime.artifact.folder import CERTIFICATE_FILE, Artifact, write_checksums
from efq.runtime.certificate.calibration import Calibration
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.certificate.rates import Estimate, Histogram, RateCurve

TEXT = (Path(__file__).parents[1] / "data" / "certificate.json").read_text(encoding="utf-8")
Change = Callable[[dict[str, Any]], object]


def test_json_round_trip_is_exact_and_canonical() -> None:
    record = Certificate.from_json(TEXT)
    assert record.to_json() == TEXT
    assert record.arrangement("student", "teacher").gallery == "student"


CHANGES: dict[str, Change] = {
    "no version": lambda values: values.pop("schema_version"),
    "version 2": lambda values: values.update(schema_version=2),
    "version true": lambda values: values.update(schema_version=True),
    "another key": lambda values: values.update(colour="red"),
    "a key less": lambda values: values["protocol"].pop("images"),
    "a rate above 1": lambda values: values["teacher"].update(eer=1.5),
    "a rate of true": lambda values: values["teacher"].update(eer=True),
    "a count of half": lambda values: values["protocol"].update(images=0.5),
    "a count below 0": lambda values: values["protocol"].update(identities=-1),
    "more failures than attempts": lambda values: values["protocol"].update(failures_to_enrol=10**9),
    "a short digest": lambda values: values["binding"].update(model_sha256="ab"),
    "a text of two lines": lambda values: values["binding"].update(machine="a\nb"),
    "a terminal's letters": lambda values: values["binding"].update(artifact="\x1b[31m"),
    "a text of a mile": lambda values: values["binding"].update(teacher="a" * 5000),
    "half an interval": lambda values: values["drops"][0]["drop"].update(low=None),
    "another network": lambda values: values["galleries"][0].update(gallery="nobody"),
    "galleries in another order": lambda values: values["galleries"].reverse(),
    "a gallery less": lambda values: values["galleries"].pop(),
    "an operating point less": lambda values: values["student"]["points"].pop(),
    "a threshold less": lambda values: values["teacher"]["curve"]["thresholds"].pop(),
    "thresholds that fall": lambda values: values["teacher"]["det"]["thresholds"].reverse(),
    "edges that repeat": lambda values: values["teacher"]["histogram"].update(edges=[0.0] * 101),
    "a long list": lambda values: values.update(gates=values["gates"] * 3000),
    "many tools": lambda values: values["binding"].update(tools={str(place): "1" for place in range(5000)}),
    "another method": lambda values: values["deployed"].update(method="guessed"),
    "a list as an object": lambda values: values.update(calibration=[]),
    "an object as a list": lambda values: values.update(gates={}),
    "nothing": lambda values: values.update(deployed=None),
    "FMRs of the teacher alone": lambda values: values["teacher"]["points"][0].update(fmr=0.5),
    "a certified FMR of no point": lambda values: values["protocol"].update(certified_fmr=0.5),
    "a slope without end": lambda values: values["calibration"].update(slope=1e300),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_does_not_fit_is_refused(change: Change) -> None:
    values = json.loads(TEXT)
    change(values)
    with raises_naming(SchemaError, "certificate.json"):
        Certificate.from_json(json.dumps(values))


@pytest.mark.parametrize("field", ["cohorts"])
def test_what_may_be_absent_may_be_null(field: str) -> None:
    values = json.loads(TEXT) | {field: None}
    assert getattr(Certificate.from_json(json.dumps(values)), field) is None


def test_mutated_records_are_read_whole_or_refused() -> None:
    """One that is read is written as it was read, and has a page."""
    outcomes = {"read": 0, "refused": 0}
    for number in range(150):
        text = mutated_text(TEXT.encode(), random.Random(number))
        try:
            record = Certificate.from_json(text.decode("utf-8", "surrogatepass"))
        except (SchemaError, UnicodeDecodeError):
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert Certificate.from_json(record.to_json()) == record
        if number % 20 == 0:
            certificate_page(record).encode()
    assert outcomes["read"] > 4
    assert outcomes["refused"] > 40


def test_records_hold_what_they_were_built_with() -> None:
    for build in (
        lambda: Estimate(value=2.0),
        lambda: Estimate(value=float("nan")),
        lambda: Estimate(value=0.5, low=0.4),
        lambda: RateCurve(thresholds=(0.0,), fmr=(), fnmr=(0.0,)),
        lambda: RateCurve(thresholds=[0.0], fmr=(0.0,), fnmr=(0.0,)),  # type: ignore[arg-type]
        lambda: Histogram(edges=(0.0, 1.0), genuine=(1.5,), impostor=(1,)),  # type: ignore[arg-type]
    ):
        with pytest.raises(SchemaError):
            build()


def test_match_percentages() -> None:
    """By hand: at the middle even odds; a prior of 0.1 multiplies the odds by 1/9."""
    calibration = Calibration(slope=10.0, offset=-3.0, prior=0.5, bins=(), expected_error=0.0)
    assert calibration.percentage(0.3) == pytest.approx(50.0)
    assert calibration.percentage(0.3, prior=0.1) == pytest.approx(10.0)
    assert calibration.percentage(0.5) == pytest.approx(100 / (1 + 0.1353352832))
    assert Calibration(slope=1e9, offset=0.0, prior=0.5, bins=(), expected_error=0.0).percentage(-1) < 1e-200


def certified(directory: Path, certificate: Certificate) -> Path:
    (directory / CERTIFICATE_FILE).write_text(certificate.to_json(), encoding="utf-8")
    write_checksums(directory)
    return directory


def test_an_artifact_gives_its_own_certificate_and_refuses_that_of_another(tmp_path: Path) -> None:
    directory = make_artifact(tmp_path / "artifact")
    assert Artifact.open(directory).certificate() is None
    assert inspect(directory)["certificate"]["certified"] is False
    own = certificate_of(Artifact.open(directory))
    assert Artifact.open(certified(directory, own)).certificate() == own
    found = inspect(directory)["certificate"]
    assert found["certified"] is True
    assert found["remapped_threshold"] == own.deployed.remapped.threshold
    json.dumps(found)
    for field in ("model_sha256", "teacher_sha256"):
        binding = dataclasses.replace(own.binding, **{field: "e" * 64})
        certified(directory, dataclasses.replace(own, binding=binding))
        with raises_naming(SchemaError, "certificate.json", "e" * 64, getattr(own.binding, field)):
            Artifact.open(directory).certificate()
        with raises_naming(SchemaError, "efq-bench"):
            inspect(directory)


def test_a_certificate_that_is_not_listed_makes_the_folder_be_refused(tmp_path: Path) -> None:
    directory = make_artifact(tmp_path / "artifact")
    (directory / CERTIFICATE_FILE).write_text(TEXT, encoding="utf-8")
    with pytest.raises(Exception, match=CERTIFICATE_FILE) as caught:
        Artifact.open(directory)
    names(caught.value, directory)
