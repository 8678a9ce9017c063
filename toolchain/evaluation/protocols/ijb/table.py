"""A report on IJB-B or IJB-C as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from efq.toolchain.evaluation.figures.limits import rule_of_thirty
from efq.toolchain.evaluation.figures.rates import far_name
from efq.toolchain.evaluation.protocols.ijb.report import IjbReport, Share
from efq.toolchain.evaluation.table import network_line

_NAMED = 5


def ijb_parts(report: IjbReport) -> list[str | Table]:
    """Lines and a table, from top to bottom; shares in percent, differences in percentage points."""
    networks = (("model", report.model), ("reference", report.reference))
    lines = [network_line(role, network) for role, network in networks if network is not None]
    return [*lines, *_notes(report), _table(report)]


def _notes(report: IjbReport) -> Iterator[str]:
    images = f"{report.images} images in {report.templates} templates, mode {report.mode}"
    yield f"{'benchmark:':<11}{report.benchmark} in {report.folder}, {images}"
    if report.odd_landmarks:
        yield f"{'landmarks:':<11}{report.odd_landmarks} images have landmarks that no face has, and are cut by them"
    if report.failed_images:
        yield f"{'failed:':<11}{len(report.failed_images)} images that cannot be read or cut"
    if report.failed_templates:
        named = ", ".join(map(str, report.failed_templates[:_NAMED]))
        more = ", ..." if len(report.failed_templates) > _NAMED else ""
        yield (
            f"{'failed:':<11}{len(report.failed_templates)} templates are not enrolled ({named}{more}): their genuine "
            "pairs count as rejected, their searches as misses"
        )
    if not report.clean:
        yield "NOT A CLEAN TEST: a network was fine-tuned on some of these images"


def _table(report: IjbReport) -> Table:
    compared = report.reference is not None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure")
    for heading in ("model", *(("reference", "difference") if compared else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("note")
    for measure, share, note in _rows(report):
        cells = ["-"] * (3 if compared else 1) if share is None else _cells(share)
        table.add_row(measure, *cells, note)
    return table


def _rows(report: IjbReport) -> Iterator[tuple[str, Share | None, str]]:
    """What was measured, its share unless too few decide it, and a note."""
    if report.verification is not None:
        pairs = report.verification
        counts = f"{pairs.genuine_pairs} genuine, {pairs.impostor_pairs} impostor pairs"
        for row in pairs.rows:
            needed = f"needs {rule_of_thirty(row.far):,} impostor pairs"
            enough = row.enough_impostors
            note = counts if enough and row is pairs.rows[0] else "" if enough else needed
            yield f"TAR@FAR={far_name(row.far)}, 1:1", row.tar if enough else None, note
    for found in report.searches:
        counts = f"{found.subjects} subjects, {found.mated} mated, {found.nonmated} nonmated searches"
        for rank in found.ranks:
            yield f"rank {rank.rank}, {found.gallery}", rank.identified, counts if rank is found.ranks[0] else ""
        for fnir in found.fnir:
            note = "" if fnir.enough_nonmated else f"needs {rule_of_thirty(fnir.fpir):,} nonmated searches"
            yield f"FNIR@FPIR={fnir.fpir:g}, {found.gallery}", fnir.fnir if fnir.enough_nonmated else None, note


def _cells(share: Share) -> list[str]:
    if share.reference is None or share.difference is None:
        return [f"{100 * share.model:.2f}"]
    return [f"{100 * share.model:.2f}", f"{100 * share.reference:.2f}", f"{100 * share.difference:+.2f}"]
