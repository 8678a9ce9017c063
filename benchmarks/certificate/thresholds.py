"""Which threshold to use: those for each FMR, the deployed one re-mapped, and the verdicts that change with it."""

from __future__ import annotations

from collections.abc import Callable

from efq.benchmarks.certificate.numbers import cell, cosine, count, fmr_cell, percent, rate
from efq.benchmarks.pages.markup import Html, code, element, headings, join, paragraph, section, small, table, text
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.certificate.rates import RatesAt
from efq.runtime.certificate.thresholds import SHIFTED, DeployedThreshold, Flips
from efq.toolchain.evaluation.figures.limits import ENOUGH_ERRORS


def thresholds(record: Certificate) -> Html:
    """The re-mapped threshold with its rates and flips, then the thresholds for each FMR."""
    deployed = record.deployed
    return section(
        "threshold",
        text("Which threshold to use"),
        *_lead(record),
        _at_thresholds(deployed),
        _flips(deployed),
        _by_fmr(record),
    )


def _lead(record: Certificate) -> list[Html]:
    deployed = record.deployed
    old, new = cosine(deployed.threshold), cosine(deployed.remapped.threshold)
    between = (
        f" (interval {cosine(deployed.remapped_low)} to {cosine(deployed.remapped_high)})"
        if deployed.remapped_low is not None and deployed.remapped_high is not None
        else ""
    )
    moved = f"Where the teacher is deployed with a threshold of {old}, deploy the student with {new}{between}. "
    how = (
        f"Impostor pairs above the teacher's threshold: {count(deployed.false_matches)}. That is too few to find the "
        "student's by the same share, so it is moved by as much as the two networks' thresholds at "
        f"{ENOUGH_ERRORS} impostor pairs lie apart."
        if deployed.method == SHIFTED
        else "At it the student accepts no greater share of impostor pairs than the teacher at its own."
    )
    found = [paragraph(text(moved + how))]
    if not deployed.enough_impostors:
        few = f"Fewer than {ENOUGH_ERRORS} impostor pairs decide this threshold: measure with more people."
        found.append(paragraph(element("strong", text(few))))
    if not deployed.stated:
        fmr = rate(record.protocol.certified_fmr)
        note = f"No deployed threshold was stated, so this is the teacher's own for an FMR of {fmr}. For yours: "
        found.append(paragraph(text(note), code("efq-bench --certify --deployed-threshold T"), class_="muted"))
    return found


def _at_thresholds(deployed: DeployedThreshold) -> Html:
    rows = [
        _rates("Teacher", "as deployed" if deployed.stated else "at its own threshold", deployed.teacher),
        _rates("Student", "at the same threshold", deployed.unchanged),
        _rates("Student", "at the re-mapped one", deployed.remapped),
    ]
    header = headings("Network", "Threshold", "FMR", "FNMR, %")
    return table("deployed", text("What both networks do at these thresholds."), header, rows)


def _rates(who: str, where: str, rates: RatesAt) -> tuple[Html, ...]:
    return (
        join([text(who), small(text(where))]),
        text(cosine(rates.threshold)),
        cell(rates.fmr, rate),
        cell(rates.fnmr, percent),
    )


def _flips(deployed: DeployedThreshold) -> Html:
    both = (deployed.flips_unchanged, deployed.flips_remapped)

    def row(title: str, what: Callable[[Flips], Html]) -> tuple[Html, ...]:
        return (text(title), *(what(flips) for flips in both))

    rows = [
        row("Genuine pairs, now refused", lambda flips: text(count(flips.genuine_lost))),
        row("Genuine pairs, now accepted", lambda flips: text(count(flips.genuine_gained))),
        row("Of all genuine pairs, %", lambda flips: cell(flips.genuine, percent)),
        row("Impostor pairs, now accepted", lambda flips: text(count(flips.impostor_gained))),
        row("Impostor pairs, now refused", lambda flips: text(count(flips.impostor_lost))),
        row("Of all impostor pairs, %", lambda flips: cell(flips.impostor, percent)),
        row("Of all pairs, %", lambda flips: cell(flips.all_pairs, percent)),
    ]
    header = headings("Verdict", *(f"Student at {cosine(flips.threshold)}" for flips in both))
    caption = (
        "Verdict flips: pairs on which the student, with the same threshold and with the re-mapped one, decides "
        f"otherwise than the teacher at {cosine(deployed.threshold)}."
    )
    return table("flips", text(caption), header, rows)


def _by_fmr(record: Certificate) -> Html:
    rows = [
        (
            fmr_cell(teacher.fmr, enough=teacher.enough_impostors and student.enough_impostors),
            text(cosine(teacher.threshold)),
            text(cosine(student.threshold)),
        )
        for teacher, student in zip(record.teacher.points, record.student.points, strict=True)
    ]
    header = headings("FMR", "Teacher", "Student")
    caption = "Thresholds for each FMR; a pair is accepted when its cosine is above the threshold."
    return table("thresholds", text(caption), header, rows)
