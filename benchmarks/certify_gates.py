"""What was asked of a certificate: held against it, and an exit code of 3 where it is not so."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from efq.benchmarks.certify_options import CertifyOptions
from efq.runtime.certificate.binding import Gate
from efq.runtime.certificate.certificate import ARRANGEMENTS, Certificate
from efq.runtime.certificate.cohorts import Cohorts
from efq.runtime.errors import InputError, ParityError

_STUDENT = ARRANGEMENTS.index(("student", "student"))

_logger = logging.getLogger(__name__)


def gates_of(certificate: Certificate, options: CertifyOptions) -> tuple[Gate, ...]:
    """The gates that were asked for, in points of a hundred. Raises InputError where no cohort can be judged."""
    certified = certificate.protocol.certified_fmr
    gates = []
    if options.max_drop is not None:
        drop = next(one.drop.value for one in certificate.drops if one.fmr == certified)
        gates.append(_gate("--max-drop", options.max_drop, 100.0 * drop))
    if options.max_flips is not None:
        flips = certificate.deployed.flips_remapped.genuine.value
        gates.append(_gate("--max-flips", options.max_flips, 100.0 * flips))
    if options.max_cohort_gap is not None and certificate.cohorts is not None:
        rise = _worst_rise(certificate.cohorts, options.max_cohort_gap)
        gates.append(_gate("--max-cohort-gap", options.max_cohort_gap, rise))
    return tuple(gates)


def check_gates(name: str, gates: Sequence[Gate]) -> None:
    """Raise ParityError unless all hold for the artifact `name`."""
    failed = [f"{gate.name} {gate.limit:g}, found {gate.found:g} {gate.unit}" for gate in gates if not gate.passed]
    if failed:
        message = f"expected of {name} at most {' and '.join(failed)}: train it longer or with more bits, or ask less"
        raise ParityError(message)


def _gate(name: str, limit: float, found: float) -> Gate:
    return Gate(name=name, limit=limit, found=float(f"{found:.6g}"), unit="points")


def _worst_rise(cohorts: Cohorts, limit: float) -> float:
    """The most that a cohort's FNMR rises, in points; of cohorts in which a genuine pair weighs at most `limit`."""
    fewest = 100.0 / limit if limit > 0 else 1.0
    judged = [cohort for cohort in cohorts.cohorts if cohort.genuine_pairs >= fewest]
    small = [cohort.name for cohort in cohorts.cohorts if cohort.genuine_pairs < fewest]
    if not judged:
        message = (
            f"expected a cohort of {fewest:.0f} genuine pairs, in which a pair is {limit:g} points or less, found "
        )
        raise InputError(message + "smaller ones only; give more faces or a wider --max-cohort-gap")
    if small:
        _logger.warning("too small for --max-cohort-gap %g: %s", limit, ", ".join(small))
    rises = [cohort.rates[_STUDENT].fnmr_rise for cohort in judged]
    return max(100.0 * rise.value for rise in rises if rise is not None)
