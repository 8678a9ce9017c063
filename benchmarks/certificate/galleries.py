"""Whether an enrolled gallery still matches: gallery and probes by teacher or student, one to one and one to many."""

from __future__ import annotations

from collections.abc import Sequence

from efq.benchmarks.certificate.numbers import NBSP, cell, cosine, count, fmr_cell, percent, points, rate
from efq.benchmarks.pages.markup import Html, element, headings, join, paragraph, section, small, table, text
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.certificate.galleries import Arrangement, SearchFigures, SearchPoint
from efq.toolchain.evaluation.figures.limits import ENOUGH_ERRORS

_WHO = "Gallery and probes"
_FEW = f"under {ENOUGH_ERRORS} false positives"


def galleries(record: Certificate) -> Html:
    """Mixed galleries against those of one network."""
    intro = (
        "People are enrolled with one network and may be searched with the other, while a gallery is moved or because "
        "it is kept. Teacher alone is what is deployed now; with teacher's gallery and student's probes the enrolled "
        "gallery stays as it is."
    )
    return section(
        "galleries",
        text("Whether the enrolled gallery still matches"),
        paragraph(text(intro)),
        element("h3", text("One to one")),
        _rates_by_fmr(record),
        _at_thresholds(record),
        element("h3", text("One to many")),
        *_search(record),
    )


def arrangement_name(gallery: str, probes: str) -> str:
    """In a line: "teacher's gallery, student's probes"."""
    return f"{gallery} alone" if gallery == probes else f"{gallery}'s gallery, {probes}'s probes"


def _name(one: Arrangement) -> Html:
    return text(arrangement_name(one.gallery, one.probes).capitalize())


def _rates_by_fmr(record: Certificate) -> Html:
    rows = [
        (
            fmr_cell(drop.fmr, enough=drop.enough_impostors),
            *(
                cell(one.points[place].fnmr, percent, "" if not number else f"{points(one.drops[place].value)} points")
                for number, one in enumerate(record.galleries)
            ),
        )
        for place, drop in enumerate(record.drops)
    ]
    header = [text("FMR"), *(_name(one) for one in record.galleries)]
    caption = "FNMR in percent, each at its own threshold for the FMR; points are against the teacher alone."
    return table("mixed-rates", text(caption), header, rows)


def _at_thresholds(record: Certificate) -> Html:
    rows = [
        (
            _name(one),
            cell(one.unchanged.fmr, rate),
            cell(one.unchanged.fnmr, percent),
            text(cosine(one.remapped.threshold)),
            cell(one.remapped.fmr, rate),
            cell(one.remapped.fnmr, percent),
        )
        for one in record.galleries
    ]
    header = headings(
        *(_WHO, "Unchanged: FMR", "Unchanged: FNMR, %"),
        *("Re-mapped threshold", "Re-mapped: FMR", "Re-mapped: FNMR, %"),
    )
    caption = f"At the teacher's threshold of {cosine(record.deployed.threshold)}, unchanged, and re-mapped to its FMR."
    return table("mixed-thresholds", text(caption), header, rows)


def _search(record: Certificate) -> list[Html]:
    found = [(one, one.search) for one in record.galleries if one.search is not None]
    if not found:
        return [
            paragraph(text("Not measured: it takes more people with two images or more, some enrolled and some not."))
        ]
    protocol = record.protocol
    intro = (
        f"{count(protocol.enrolled)} people enrolled with one image each; {count(protocol.mated_searches)} searches "
        f"with other images of them, {count(protocol.nonmated_searches)} with images of people who are not enrolled. "
        "FPIR is the share of the latter that find somebody above the threshold, FNIR the share of the former that do "
        "not find their person first and above it. Both grow with the gallery: compare the rows with one another, not "
        "with a larger gallery of yours."
    )
    rows = [
        (
            _name(one),
            cell(search.rank1, percent),
            cell(search.rank1_drop, points),
            *(_fnir(point) for point in search.points),
        )
        for one, search in found
    ]
    asked = [f"FNIR, %, at FPIR {_round(point.fpir)}" for point in found[0][1].points]
    header = headings(_WHO, "Found first, %", "Lost, points", *asked)
    caption = "Searches for enrolled people: found first (rank 1), and FNIR at each arrangement's own threshold."
    return [paragraph(text(intro)), table("search", text(caption), header, rows), _search_thresholds(found)]


def _fnir(point: SearchPoint) -> Html:
    few = "" if point.enough_nonmated else _FEW
    return cell(point.fnir, percent, f"threshold {cosine(point.threshold)}", few)


def _round(fpir: float) -> str:
    return f"{100 * fpir:g}{NBSP}%"


def _search_thresholds(found: Sequence[tuple[Arrangement, SearchFigures]]) -> Html:
    rows = [(_name(one), *_point(search.unchanged), *_point(search.remapped)) for one, search in found]
    header = headings(
        *(_WHO, "Unchanged: FPIR, %", "Unchanged: FNIR, %"), *("Re-mapped: FPIR, %", "Re-mapped: FNIR, %")
    )
    fpir = _round(found[0][1].points[0].fpir)
    caption = f"At the threshold of the teacher alone for an FPIR of {fpir}, unchanged, and re-mapped to that FPIR."
    return table("search-thresholds", text(caption), header, rows)


def _point(point: SearchPoint) -> tuple[Html, Html]:
    notes = [f"threshold {cosine(point.threshold)}", *([] if point.enough_nonmated else [_FEW])]
    return join([text(percent(point.fpir)), small(*map(text, notes))]), cell(point.fnir, percent)
