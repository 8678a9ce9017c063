"""An evaluation report as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich import box
from rich.table import Table

from efq.toolchain.evaluation.figures.limits import rule_of_thirty, rule_of_three
from efq.toolchain.evaluation.figures.rates import far_name
from efq.toolchain.evaluation.report import Agreement, Estimate, EvaluationReport, NetworkSummary, ThresholdResult

Row = tuple[str, ...]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}"


def report_parts(report: EvaluationReport) -> list[str | Table]:
    """Lines and a table, from top to bottom; shares in percent, differences in percentage points."""
    networks = (("model", report.model), ("reference", report.reference))
    lines = [network_line(role, network) for role, network in networks if network is not None]
    agreement = [] if report.agreement is None else [_agreement_line(report.agreement)]
    return [*lines, *_note_lines(report), _table(report), *agreement]


def network_line(role: str, network: NetworkSummary) -> str:
    """Which network was measured, and as what."""
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
        lines += _failure_lines(report)
    if report.duplicates:
        lines.append(f"{'left out:':<11}{len(report.duplicates)} images of the same photo as others")
    if report.near_pairs:
        lines.append(
            f"{'easy:':<11}{report.near_pairs} genuine pairs are of one photo, compressed anew, resized or cut"
        )
    if not report.clean:
        lines.append("NOT A CLEAN TEST: a network was fine-tuned on some of these images")
    return lines


def _failure_lines(report: EvaluationReport) -> list[str]:
    failure = report.failure_to_enrol
    lines = [
        f"{'skipped:':<11}{failure.failed} images that cannot be decoded: failure to enrol {_percent(failure.rate)} %"
    ]
    names = [far_name(row.far) for row in (report.all_pairs.rows if report.all_pairs else ()) if row.enough_impostors]
    if names:
        rates = ", ".join(f"{_percent(failure.generalized_fnmr[name])} % at FMR {name}" for name in names)
        lines.append(f"{'':<11}generalized FNMR, with those counted as rejected: {rates}")
    return lines


def _table(report: EvaluationReport) -> Table:
    compared = report.reference is not None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure, %")
    for heading in ("model", "95 %", *(("reference", "95 %", "difference", "95 %") if compared else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("chance", justify="right", no_wrap=True)
    table.add_column("note")
    for row in (*_all_pairs_rows(report), *_threshold_rows(report), *_search_rows(report)):
        table.add_row(*row)
    for fold in report.pairs:
        note = f"{fold.pairs} pairs, std {100 * fold.standard_deviation:.2f}"
        note += f", {fold.skipped_pairs} skipped" if fold.skipped_pairs else ""
        note += f", {fold.near_pairs} of one photo" if fold.near_pairs else ""
        cells = _cells(fold.accuracy, fold.reference_accuracy, fold.difference)
        measure = f"{len(fold.fold_accuracies)}-fold accuracy, {fold.name}"
        table.add_row(measure, *cells, f"{100 * fold.chance:.2f}", note)
    return table


def _all_pairs_rows(report: EvaluationReport) -> Iterator[Row]:
    pairs = report.all_pairs
    if pairs is None:
        return
    for far in pairs.rows:
        given, name = far.enough_impostors, far_name(far.far)
        note = "" if given else _too_few(pairs.impostor_pairs, far.far)
        cells = _cells(far.tar, far.reference_tar, far.difference)
        yield _row(f"TAR@FAR={name}, all pairs", cells, f"{100 * far.far:g}", note, given=given)
        cells = _cells(far.fnmr, far.reference_fnmr, far.difference and far.difference.negative())
        yield _row(f"FNMR@FMR={name}", cells, f"{100 - 100 * far.far:g}", "", given=given)
    if pairs.eer is not None:
        reference = None if pairs.reference_eer is None else Estimate(value=pairs.reference_eer)
        difference = None if pairs.reference_eer is None else Estimate(value=pairs.eer - pairs.reference_eer)
        yield _row("EER", _cells(Estimate(value=pairs.eer), reference, difference), "50", "")


def _threshold_rows(report: EvaluationReport) -> Iterator[Row]:
    """FMR and FNMR of each network at each threshold; an FMR of fewer than 30 false matches is not given."""
    if report.all_pairs is None:
        return
    total = report.all_pairs.impostor_pairs
    both = [report.thresholds[role] for role in ("model", "reference") if role in report.thresholds]
    for points in zip(*both, strict=True):
        cells = []
        for point in points:
            given = point.enough_impostors
            cells += [_small(point.fmr.value), _interval(point.fmr, _small)] if given else ["-", "-"]
        few = [point for point in points if not point.enough_impostors]
        note = "; ".join(_few_matches(point, total) for point in few[:1])
        yield (f"FMR at cosine {points[0].threshold:g}", *cells, *_blank(points), "", note)
        cells = [cell for point in points for cell in (f"{100 * point.fnmr.value:.2f}", _interval(point.fnmr))]
        yield (f"FNMR at cosine {points[0].threshold:g}", *cells, *_blank(points), "", "")


def _blank(points: Sequence[ThresholdResult]) -> tuple[str, ...]:
    """The cells of the difference, where there is a reference."""
    return ("", "") if len(points) > 1 else ()


def _search_rows(report: EvaluationReport) -> Iterator[Row]:
    search = report.search
    if search is None:
        return
    note = f"{search.enrolled:,} enrolled, {search.probes:,} probes"
    for rank in search.ranks:
        cells = _cells(rank.rate, rank.reference_rate, rank.difference)
        yield _row(f"rank-{rank.rank} identification", cells, f"{100 * rank.rank / search.enrolled:.2g}", note)
    for row in search.rows:
        given = row.enough_probes
        needed = f"too few probes ({search.probes:,}; rule of 30 needs {rule_of_thirty(row.fpir):,})"
        cells = _cells(row.fnir, row.reference_fnir, row.difference)
        yield _row(f"FNIR@FPIR={far_name(row.fpir)}", cells, "", "" if given else needed, given=given)


def _row(measure: str, cells: Sequence[str], chance: str, note: str, *, given: bool = True) -> Row:
    return (measure, *(cells if given else ["-"] * len(cells)), chance, note)


def _too_few(pairs: int, rate: float) -> str:
    return f"too few impostor pairs ({pairs:,}; rule of 30 needs {rule_of_thirty(rate):,})"


def _few_matches(point: ThresholdResult, pairs: int) -> str:
    if not point.false_matches:
        return f"below {_small(rule_of_three(pairs))} %: no false match in {pairs:,} (rule of 3)"
    return f"{point.false_matches} false matches; {_too_few(pairs, point.fmr.value)}"


def _small(share: float) -> str:
    """A share in percent, of which the first digits may be far behind the point."""
    return f"{100 * share:.3g}"


def _cells(model: Estimate, reference: Estimate | None, difference: Estimate | None) -> list[str]:
    cells = [f"{100 * model.value:.2f}", _interval(model)]
    if reference is not None and difference is not None:
        cells += [f"{100 * reference.value:.2f}", _interval(reference)]
        cells += [f"{100 * difference.value:+.2f}", _interval(difference, _signed)]
    return cells


def _interval(estimate: Estimate, write: Callable[[float], str] = _percent) -> str:
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"{write(estimate.low)}..{write(estimate.high)}"


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
