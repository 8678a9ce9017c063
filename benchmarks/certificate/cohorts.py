"""For whom it got worse: raw rates of each cohort at one fixed threshold, then how far cohorts lie apart."""

from __future__ import annotations

from efq.benchmarks.certificate.galleries import arrangement_name
from efq.benchmarks.certificate.numbers import cell, cosine, count, percent, points, rate
from efq.benchmarks.pages.markup import Html, code, headings, name, paragraph, section, table, text
from efq.runtime.certificate.certificate import ARRANGEMENTS, Certificate
from efq.runtime.certificate.cohorts import Cohort, CohortRates, Cohorts
from efq.toolchain.evaluation.figures.limits import ENOUGH_ERRORS

MOST_SHOWN = 100
_TEACHER, _STUDENT = ARRANGEMENTS.index(("teacher", "teacher")), ARRANGEMENTS.index(("student", "student"))
_NOT_COMPARED = "not compared"
_FEW = f"under {ENOUGH_ERRORS} errors"


def cohorts(record: Certificate) -> Html:
    """Rates and differentials, or how to get them."""
    found = record.cohorts
    title = text("For whom it got worse")
    if found is None:
        note = [text("Not measured. A file that says to which cohort each image belongs gives it: ")]
        return section("cohorts", title, paragraph(*note, code("efq-bench --certify --cohorts FILE")))
    shown = found.cohorts[:MOST_SHOWN]
    left = len(found.cohorts) - len(shown)
    more = f"{count(left)} more cohorts are in certificate.json." if left else ""
    return section(
        "cohorts",
        title,
        _intro(found),
        _rates("cohort-fnmr", "FNMR", shown),
        _rates("cohort-fmr", "FMR", shown),
        _mixed(shown),
        paragraph(text(more)) if more else Html(""),
        _differentials(found),
    )


def _intro(found: Cohorts) -> Html:
    teacher, student = found.thresholds[_TEACHER], found.thresholds[_STUDENT]
    said = (
        f" gives the cohorts; {count(found.without)} images are of none. A pair counts for a cohort when both "
        f"images are of it. All cohorts share one threshold: {cosine(teacher)} for the teacher, {cosine(student)} for "
        f'the student. "{_FEW.capitalize()}": the rate is known to no better than about a third.'
    )
    return paragraph(name(found.file), text(said))


def _rates(key: str, kind: str, shown: tuple[Cohort, ...]) -> Html:
    genuine = kind == "FNMR"
    rows = [
        (
            name(cohort.name),
            text(count(cohort.people)),
            text(count(cohort.genuine_pairs if genuine else cohort.impostor_pairs)),
            _rate(cohort.rates[_TEACHER], genuine=genuine),
            _rate(cohort.rates[_STUDENT], genuine=genuine),
            *([cell(cohort.rates[_STUDENT].fnmr_rise, points)] if genuine else []),
        )
        for cohort in shown
    ]
    unit = ", %" if genuine else ""
    header = ["Cohort", "People", "Genuine pairs" if genuine else "Impostor pairs", f"Teacher{unit}", f"Student{unit}"]
    caption = "Genuine pairs refused (FNMR), by cohort." if genuine else "Impostor pairs accepted (FMR), by cohort."
    return table(key, text(caption), headings(*header, *(["Rise, points"] if genuine else [])), rows)


def _rate(rates: CohortRates, *, genuine: bool) -> Html:
    errors = rates.false_non_matches if genuine else rates.false_matches
    few = rates.few_false_non_matches if genuine else rates.few_false_matches
    notes = (f"{count(errors)} error{'' if errors == 1 else 's'}", _FEW if few else "")
    return cell(rates.fnmr, percent, *notes) if genuine else cell(rates.fmr, rate, *notes)


def _mixed(shown: tuple[Cohort, ...]) -> Html:
    mixed = [place for place, (gallery, probes) in enumerate(ARRANGEMENTS) if gallery != probes]
    rows = [
        (
            name(cohort.name),
            *(
                part
                for place in mixed
                for part in (_rate(cohort.rates[place], genuine=True), cell(cohort.rates[place].fnmr_rise, points))
            ),
        )
        for cohort in shown
    ]
    header = ["Cohort"]
    for place in mixed:
        header += [f"{arrangement_name(*ARRANGEMENTS[place]).capitalize()}: FNMR, %", "Rise, points"]
    caption = "Mixed galleries: FNMR by cohort at the re-mapped threshold, and its rise over the teacher alone."
    return table("cohort-mixed", text(caption), headings(*header), rows)


def _differentials(found: Cohorts) -> Html:
    gaps = [gap for one in found.differentials for gap in (one.fnmr_gap, one.fmr_gap)]
    if all(gap is None for gap in gaps):
        few = f"Cohorts are not compared with one another: it takes two with {ENOUGH_ERRORS} errors or more."
        return paragraph(text(few))
    rows = [
        (
            text(arrangement_name(one.gallery, one.probes).capitalize()),
            text(_NOT_COMPARED if one.fnmr_gap is None else percent(one.fnmr_gap)),
            _ratio(one.fnmr_ratio),
            text(_NOT_COMPARED if one.fmr_gap is None else rate(one.fmr_gap)),
            _ratio(one.fmr_ratio),
        )
        for one in found.differentials
    ]
    header = headings("Gallery and probes", "FNMR: gap, points", "FNMR: ratio", "FMR: gap", "FMR: ratio")
    caption = (
        f"Largest less smallest rate of the cohorts with {ENOUGH_ERRORS} errors or more (gap), and largest by smallest "
        "(ratio)."
    )
    return table("differentials", text(caption), header, rows)


def _ratio(value: float | None) -> Html:
    return text(_NOT_COMPARED if value is None else f"{value:.2f}")
