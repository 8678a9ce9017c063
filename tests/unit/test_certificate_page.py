"""The page of a certificate: what it shows, what it leaves out, and that no record breaks it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from html_pages import Page, expect_one_file

from efq.benchmarks.certificate.page import certificate_page
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.certificate.rates import Estimate, Histogram, RateCurve

EXAMPLE = Path(__file__).parents[1] / "data" / "certificate.json"
LARGEST_PAGE = 400_000  # bytes


@pytest.fixture(scope="module")
def record() -> Certificate:
    return Certificate.from_json(EXAMPLE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(record: Certificate) -> Page:
    return expect_one_file(certificate_page(record))


def shown(share: float) -> str:
    """In percent: two decimals, two digits below a tenth."""
    return f"{100 * share:.2g}" if 0 < share < 1e-3 else f"{100 * share:.2f}"


def percent(estimate: Estimate) -> str:
    assert estimate.low is not None
    assert estimate.high is not None
    return "{} {} to {}".format(*map(shown, (estimate.value, estimate.low, estimate.high)))


def test_sections_come_in_the_order_of_a_deployer_and_the_contents_name_them(page: Page) -> None:
    sections = [found.attributes["id"] for found in page.all("section")]
    assert sections == [
        *("cost", "threshold", "galleries", "cohorts", "percentage", "curves", "enrolment", "method", "limits"),
    ]
    links = [found.attributes["href"] for found in page.all("a") if "nav" in found.inside]
    assert links == [f"#{key}" for key in sections]
    assert [found.tag for found in page.elements if found.tag in ("h1", "h2")][:2] == ["h1", "h2"]


def test_every_table_has_a_caption_and_every_plot_words_and_figures(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption")) > 15
    pictures = [found for found in page.all("svg") if found.attributes.get("role") == "img"]
    assert len(pictures) == 7
    assert all(page.with_id(key).text for found in pictures for key in found.attributes["aria-labelledby"].split())
    assert len([found for found in page.all("table") if "details" in found.inside]) == len(pictures)
    assert all(found.attributes.get("scope") in ("row", "col") for found in page.all("th"))
    assert all(found.text for found in page.all("th"))


def test_gates_and_their_outcome_stand_first(record: Certificate, page: Page) -> None:
    assert page.table("gates")[1:] == [
        [gate.name, f"{gate.limit:.2f} points", f"{gate.found:.2f} points", "passed"]
        if gate.unit == "points"
        else [gate.name, f"{100 * gate.limit:.2f}\xa0%".replace("\xa0", " "), f"{100 * gate.found:.2f} %", "passed"]
        for gate in record.gates
    ]
    assert "Passed: 2 of 2 gates." in page.all("header")[0].text


def test_a_gate_that_does_not_hold_is_a_failure_in_words(record: Certificate) -> None:
    first = record.gates[0]
    failing = dataclasses.replace(first, found=first.limit + 1)
    page = expect_one_file(certificate_page(dataclasses.replace(record, gates=(failing, *record.gates[1:]))))
    assert "Failed: 1 of 2 gates." in page.all("header")[0].text
    assert [row[-1] for row in page.table("gates")[1:]] == ["failed", "passed"]


def test_the_cost_is_that_of_the_record(record: Certificate, page: Page) -> None:
    rows = page.table("rates")[1:]
    assert len(rows) == len(record.drops)
    for row, drop, teacher, student in zip(
        rows, record.drops, record.teacher.points, record.student.points, strict=True
    ):
        assert row[0].startswith(f"{drop.fmr:.0e}".replace("e-0", "e-"))
        assert ("under 30" in row[0]) != drop.enough_impostors
        assert row[1] == f"{percent(teacher.fnmr)} TAR {100 * (1 - teacher.fnmr.value):.2f}"
        assert row[2] == f"{percent(student.fnmr)} TAR {100 * (1 - student.fnmr.value):.2f}"
        assert row[3].startswith(f"{100 * drop.drop.value:+.2f}")


def test_thresholds_and_flips_are_those_of_the_record(record: Certificate, page: Page) -> None:
    deployed = record.deployed
    rows = page.table("deployed")[1:]
    for row, rates in zip(rows, (deployed.teacher, deployed.unchanged, deployed.remapped), strict=True):
        assert row[1] == f"{rates.threshold:.4f}"
        assert float(row[2].split()[0]) == pytest.approx(rates.fmr.value, rel=0.01)
        assert row[3] == percent(rates.fnmr)
    flips = deployed.flips_remapped
    column = [row[2] for row in page.table("flips")]
    assert column[0] == f"Student at {flips.threshold:.4f}"
    counts = [int(column[place].replace(",", "")) for place in (1, 2, 4, 5)]
    assert counts == [flips.genuine_lost, flips.genuine_gained, flips.impostor_gained, flips.impostor_lost]
    assert column[3] == percent(flips.genuine)
    assert float(column[6].split()[0]) == pytest.approx(100 * flips.impostor.value, rel=0.05)
    assert [row[1:] for row in page.table("thresholds")[1:]] == [
        [f"{a.threshold:.4f}", f"{b.threshold:.4f}"]
        for a, b in zip(record.teacher.points, record.student.points, strict=True)
    ]


def test_mixed_galleries_are_those_of_the_record(record: Certificate, page: Page) -> None:
    rows = page.table("mixed-rates")[1:]
    for place, row in enumerate(rows):
        for number, one in enumerate(record.galleries):
            assert row[1 + number].startswith(percent(one.points[place].fnmr))
    for row, one in zip(page.table("mixed-thresholds")[1:], record.galleries, strict=True):
        assert row[2] == percent(one.unchanged.fnmr)
        assert row[3] == f"{one.remapped.threshold:.4f}"
        assert row[5] == percent(one.remapped.fnmr)
    for row, one in zip(page.table("search")[1:], record.galleries, strict=True):
        assert one.search is not None
        assert row[1] == percent(one.search.rank1)
        assert all(cell.startswith(percent(point.fnir)) for cell, point in zip(row[3:], one.search.points, strict=True))
    for row, one in zip(page.table("search-thresholds")[1:], record.galleries, strict=True):
        assert one.search is not None
        assert f"{one.search.unchanged.threshold:.4f}" in row[1]
        assert row[4] == percent(one.search.remapped.fnir)


def test_raw_rates_of_cohorts_come_before_what_compares_them(record: Certificate, page: Page) -> None:
    assert record.cohorts is not None
    shown = [found.attributes["id"] for found in page.all("table")]
    assert shown.index("cohort-fnmr") < shown.index("cohort-fmr") < shown.index("differentials")
    for row, cohort in zip(page.table("cohort-fnmr")[1:], record.cohorts.cohorts, strict=True):
        student = cohort.rates[1]
        assert student.fnmr is not None
        assert student.fnmr_rise is not None
        assert row[:3] == [cohort.name, f"{cohort.people:,}", f"{cohort.genuine_pairs:,}"]
        assert row[4].startswith(f"{percent(student.fnmr)} {student.false_non_matches} errors")
        assert ("under 30" in row[4]) == student.few_false_non_matches
        assert row[5].startswith(f"{100 * student.fnmr_rise.value:+.2f}")
    for row, cohort in zip(page.table("cohort-fmr")[1:], record.cohorts.cohorts, strict=True):
        assert ("under 30" in row[4]) == cohort.rates[1].few_false_matches


def test_percentages_digests_and_seeds_are_those_of_the_record(record: Certificate, page: Page) -> None:
    header, *rows = page.table("percentages")
    assert header[1].startswith("50")
    for row in rows:
        expected = record.calibration.percentage(float(row[0]))
        assert row[1] in (f"{expected:.1f}", "under 0.1", "over 99.9")
    words = page.with_id("method").text
    assert record.binding.model_sha256 in words
    assert record.binding.teacher_sha256 in words
    assert str(record.protocol.faces_sha256) in words
    assert f"seed {record.protocol.seed}" in words
    assert all(f"{tool} {version}" in words for tool, version in record.binding.tools.items())
    enrolment = page.with_id("enrolment").text
    assert f"Of {record.protocol.attempts:,} images {record.protocol.failures_to_enrol:,} " in enrolment


def test_what_was_not_measured_is_one_line_that_says_how_to_get_it(record: Certificate) -> None:
    bare = dataclasses.replace(
        record,
        gates=(),
        cohorts=None,
        deployed=dataclasses.replace(record.deployed, stated=False, remapped_low=None, remapped_high=None),
        galleries=tuple(dataclasses.replace(one, search=None) for one in record.galleries),
    )
    page = expect_one_file(certificate_page(bare))
    assert "--max-drop" in page.all("header")[0].text
    assert "--cohorts" in page.with_id("cohorts").text
    assert "--deployed-threshold" in page.with_id("threshold").text
    missing = {"gates", "cohort-fnmr", "cohort-fmr", "cohort-mixed", "differentials", "search", "search-thresholds"}
    assert not missing & {found.attributes["id"] for found in page.all("table")}


def test_cohorts_of_few_errors_are_not_compared(record: Certificate) -> None:
    assert record.cohorts is not None
    none = dict.fromkeys(("fmr_gap", "fmr_ratio", "fnmr_gap", "fnmr_ratio"))
    few = tuple(dataclasses.replace(one, **none) for one in record.cohorts.differentials)
    changed = dataclasses.replace(record, cohorts=dataclasses.replace(record.cohorts, differentials=few))
    page = expect_one_file(certificate_page(changed))
    tables = {found.attributes["id"] for found in page.all("table")}
    assert "cohort-fnmr" in tables
    assert "differentials" not in tables
    assert "30 errors or more" in page.with_id("cohorts").text


HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</title></style><style>*{display:none}",
    "&lt;b&gt; --> <!-- ]]>",
    "\u05e9\u05dc\u05d5\u05dd 123",
    "x" * 1000,
)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_that_others_chose_are_shown_as_they_are(record: Certificate, hostile: str, page: Page) -> None:
    assert record.cohorts is not None
    cohorts = tuple(dataclasses.replace(cohort, name=hostile) for cohort in record.cohorts.cohorts)
    binding = dataclasses.replace(
        record.binding,
        **dict.fromkeys(("artifact", "target", "backend", "teacher", "machine", "machine_class"), hostile),
        tools={hostile: hostile},
    )
    changed = dataclasses.replace(
        record,
        measured=hostile,
        binding=binding,
        protocol=dataclasses.replace(record.protocol, faces=hostile),
        gates=tuple(dataclasses.replace(gate, name=hostile, unit=hostile) for gate in record.gates),
        cohorts=dataclasses.replace(record.cohorts, file=hostile, cohorts=cohorts),
    )
    found = expect_one_file(certificate_page(changed))
    kinds = {element.tag for element in found.elements}
    assert kinds == {element.tag for element in page.elements}
    assert [row[0] for row in found.table("cohort-fnmr")[1:]] == [hostile] * len(cohorts)
    assert hostile in found.all("title")[0].text


def test_the_largest_record_is_a_page_that_opens(record: Certificate) -> None:
    size = 4096
    steps = tuple(place / size for place in range(size))
    curve = RateCurve(thresholds=steps, fmr=tuple(1 - step for step in steps), fnmr=steps)
    histogram = Histogram(edges=steps, genuine=(12345,) * (size - 1), impostor=(10**9,) * (size - 1))
    large = dataclasses.replace(record.student, det=curve, curve=curve, histogram=histogram)
    assert record.cohorts is not None
    cohorts = tuple(dataclasses.replace(record.cohorts.cohorts[0], name=f"cohort {place}") for place in range(size))
    changed = dataclasses.replace(
        record, teacher=large, student=large, cohorts=dataclasses.replace(record.cohorts, cohorts=cohorts)
    )
    content = certificate_page(changed)
    assert len(content.encode()) < LARGEST_PAGE
    page = expect_one_file(content)
    assert f"{size - 100:,} more cohorts" in page.with_id("cohorts").text
    assert len(certificate_page(record).encode()) < LARGEST_PAGE / 4


def test_networks_without_an_error_have_a_page_too(record: Certificate) -> None:
    """Rates of 0 have no logarithm, and a difference of two equal networks no sign."""
    none = Estimate(value=0.0)
    curve = RateCurve(thresholds=(0.0, 0.5, 1.0), fmr=(1.0, 0.0, 0.0), fnmr=(0.0, 0.0, 1.0))
    empty = Histogram(edges=(-1.0, 1.0), genuine=(0,), impostor=(0,))
    points = tuple(dataclasses.replace(point, fnmr=none, enough_impostors=False) for point in record.student.points)
    perfect = dataclasses.replace(record.student, eer=0.0, points=points, det=curve, curve=curve, histogram=empty)
    drops = tuple(dataclasses.replace(drop, drop=none, enough_impostors=False) for drop in record.drops)
    same = dataclasses.replace(record.cosine, mean=1.0, least=1.0, percentiles=())
    calibration = dataclasses.replace(record.calibration, bins=(), slope=0.0, offset=0.0)
    changed = dataclasses.replace(
        record, teacher=perfect, student=perfect, drops=drops, cosine=same, calibration=calibration
    )
    content = certificate_page(changed)
    page = expect_one_file(content)
    assert [row[3] for row in page.table("rates")[1:]] == ["0.00"] * len(drops)
    assert not re.search(r"\b(nan|inf)\b", content)
