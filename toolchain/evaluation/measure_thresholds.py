"""FMR and FNMR of networks at thresholds that somebody uses, whatever those do."""

from __future__ import annotations

from collections.abc import Sequence

from efq.runtime.errors import UsageError
from efq.toolchain.evaluation.figures.far import AllPairs
from efq.toolchain.evaluation.figures.limits import enough_errors
from efq.toolchain.evaluation.figures.variance import false_matches, fmr_by_people, fnmr_by_people
from efq.toolchain.evaluation.measure import estimate_of
from efq.toolchain.evaluation.report import ThresholdResult

_HIGHEST_FMR = 0.1


def far_of_thresholds(pairs: AllPairs, thresholds: Sequence[float]) -> float:
    """The highest FAR that pairs have to be kept for (`all_pairs`) for rates at all `thresholds`.

    Raises UsageError for a threshold that over a tenth of the impostor pairs are above: nobody uses such a one.
    """
    if pairs.scores is None or not thresholds:
        return 0.0
    lowest = min(thresholds)
    fmr = pairs.scores.fmr(lowest - 2.0 / len(pairs.scores.impostor))
    if fmr > _HIGHEST_FMR and len(pairs.impostor) < pairs.impostor_pairs:
        message = f"expected thresholds that at most a tenth of the impostor pairs are above, found {lowest:g}, which "
        raise UsageError(message + f"{100 * fmr:.0f} % are above; give a higher one")
    return fmr


def measure_thresholds(pairs: AllPairs, thresholds: Sequence[float]) -> tuple[ThresholdResult, ...]:
    """At each threshold, with analytic intervals. Raises UsageError for one below which pairs were not kept."""
    return tuple(_at_threshold(pairs, threshold) for threshold in thresholds)


def _at_threshold(pairs: AllPairs, threshold: float) -> ThresholdResult:
    matches = false_matches(pairs, threshold)
    fmr, fnmr = fmr_by_people(pairs, threshold), fnmr_by_people(pairs, threshold)
    return ThresholdResult(
        threshold=threshold,
        false_matches=matches,
        enough_impostors=enough_errors(matches),
        fmr=estimate_of(fmr.rate, fmr.interval()),
        fnmr=estimate_of(fnmr.rate, fnmr.interval()),
    )
