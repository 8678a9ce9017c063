"""An evaluation report as a table for people."""

from __future__ import annotations

from rich import box
from rich.table import Table

from efq.toolchain.evaluation.figures.limits import rule_of_thirty
from efq.toolchain.evaluation.figures.rates import far_name
from efq.toolchain.evaluation.report import Agreement, Estimate, EvaluationReport, NetworkSummary


def report_parts(report: EvaluationReport) -> list[str | Table]:
    """Lines and a table, from top to bottom; shares in percent, differences in percentage points."""
    networks = (("model", report.model), ("reference", report.reference))
    lines = [_network_line(role, network) for role, network in networks if network is not None]
    agreement = [] if report.agreement is None else [_agreement_line(report.agreement)]
    return [*lines, *_note_lines(report), _table(report), *agreement]


def _network_line(role: str, network: NetworkSummary) -> str:
    kind = network.kind if network.backend is None else f"{network.kind} in {network.backend}"
    return f"{role + ':':<11}{network.name} ({kind}, {network.path}, sha256 {network.sha256[:16]})"


def _note_lines(report: EvaluationReport) -> list[str]:
    counts = f"{report.images} images"
    if report.all_pairs is not None:
        pairs = report.all_pairs
        counts += (
            f"; all pairs: {pairs.images} images of {pairs.identities} identities, {pairs.genuine_pairs} genuine, "
            f"{pairs.impostor_pairs} impostor"
        )
    lines = [f"{'faces:':<11}{report.faces}, {counts}{', with mirror images' if report.flip else ''}"]
    if report.unreadable:
        lines.append(f"{'skipped:':<11}{len(report.unreadable)} images that cannot be decoded")
    if report.duplicates:
        lines.append(f"{'left out:':<11}{len(report.duplicates)} images of the same pixels as others")
    if not report.clean:
        lines.append("NOT A CLEAN TEST: a network was fine-tuned on some of these images")
    return lines


def _table(report: EvaluationReport) -> Table:
    compared = report.reference is not None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure")
    for heading in ("model", "95 %", *(("reference", "95 %", "difference", "95 %") if compared else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("chance", justify="right", no_wrap=True)
    table.add_column("note")
    for far in report.all_pairs.rows if report.all_pairs else ():
        cells, note = _cells(far.tar, far.reference_tar, far.difference), ""
        if not far.enough_impostors:
            cells, note = ["-"] * len(cells), f"needs {rule_of_thirty(far.far):,} impostor pairs"
        table.add_row(f"TAR@FAR={far_name(far.far)}, all pairs", *cells, f"{100 * far.far:g}", note)
    for fold in report.pairs:
        note = f"{fold.pairs} pairs, std {100 * fold.standard_deviation:.2f}"
        note += f", {fold.skipped_pairs} skipped" if fold.skipped_pairs else ""
        cells = _cells(fold.accuracy, fold.reference_accuracy, fold.difference)
        measure = f"{len(fold.fold_accuracies)}-fold accuracy, {fold.name}"
        table.add_row(measure, *cells, f"{100 * fold.chance:.2f}", note)
    return table


def _cells(model: Estimate, reference: Estimate | None, difference: Estimate | None) -> list[str]:
    cells = [f"{100 * model.value:.2f}", _interval(model)]
    if reference is not None and difference is not None:
        cells += [f"{100 * reference.value:.2f}", _interval(reference)]
        cells += [f"{100 * difference.value:+.2f}", _interval(difference, sign="+")]
    return cells


def _interval(estimate: Estimate, sign: str = "") -> str:
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"{100 * estimate.low:{sign}.2f}..{100 * estimate.high:{sign}.2f}"


def _agreement_line(agreement: Agreement) -> str:
    parts = []
    if agreement.cosine_mean is not None:
        parts.append(
            f"cosine of both embeddings: mean {agreement.cosine_mean:.4f}, 1st percentile {agreement.cosine_p1:.4f}, "
            f"minimum {agreement.cosine_min:.4f}"
        )
    if agreement.cosine_different is not None:
        parts.append(f"of different images: mean {agreement.cosine_different:.4f}")
    if agreement.equal_decisions is not None and agreement.far is not None:
        parts.append(f"equal decisions at FAR {agreement.far:g}: {100 * agreement.equal_decisions:.4f} % of all pairs")
    return "; ".join(parts) or "the embedding sizes differ: no cosine between both embeddings"
