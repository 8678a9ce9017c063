"""What the student costs: FNMR of both networks at each FMR, and what lies between them."""

from __future__ import annotations

from efq.benchmarks.certificate.numbers import NBSP, cell, cosine, count, fmr_cell, percent, percent_sign, points
from efq.benchmarks.pages.markup import Html, headings, paragraph, section, table, text
from efq.runtime.certificate.certificate import Certificate


def cost(record: Certificate) -> Html:
    """The table, and the equal error rates below it."""
    protocol = record.protocol
    intro = (
        f"All pairs of {count(protocol.images)} images of {count(protocol.identities)} people: "
        f"{count(protocol.genuine_pairs)} genuine ones and {count(protocol.impostor_pairs)} impostor ones. Each "
        "network is taken at its own threshold for a false match rate (FMR, the share of impostor pairs accepted); "
        "what it then refuses of the genuine pairs is its false non-match rate (FNMR). The rest is the true accept "
        "rate (TAR)."
    )
    rows = [
        (
            fmr_cell(drop.fmr, enough=drop.enough_impostors),
            cell(teacher.fnmr, percent, f"TAR {percent(1 - teacher.fnmr.value)}"),
            cell(student.fnmr, percent, f"TAR {percent(1 - student.fnmr.value)}"),
            cell(drop.drop, points),
        )
        for drop, teacher, student in zip(record.drops, record.teacher.points, record.student.points, strict=True)
    ]
    header = headings("FMR", "Teacher: FNMR, %", "Student: FNMR, %", "Student less teacher, points")
    caption = text(f"Genuine pairs refused; below each figure its {percent_of(record)} interval.")
    equal = (
        f"Equal error rate, where FMR and FNMR are the same: teacher {percent_sign(record.teacher.eer)} at a threshold "
        f"of {cosine(record.teacher.eer_threshold)}, student {percent_sign(record.student.eer)} at "
        f"{cosine(record.student.eer_threshold)}."
    )
    return section(
        "cost",
        text("What it costs"),
        paragraph(text(intro)),
        table("rates", caption, header, rows),
        paragraph(text(equal)),
    )


def percent_of(record: Certificate) -> str:
    """The confidence of the intervals: "95 %"."""
    return f"{100 * record.protocol.confidence:g}{NBSP}%"
