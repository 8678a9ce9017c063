"""The certificate of a student from its embeddings and its teacher's, of the same faces."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
from numpy.typing import NDArray

from efq.runtime.certificate.binding import Binding, Protocol
from efq.runtime.certificate.certificate import ARRANGEMENTS, Certificate
from efq.runtime.certificate.rates import Drop
from efq.runtime.errors import InputError, UsageError
from efq.toolchain.evaluation.certificate.calibration import calibrate
from efq.toolchain.evaluation.certificate.cohort_file import CohortLabels
from efq.toolchain.evaluation.certificate.cohorts import cohort_rates
from efq.toolchain.evaluation.certificate.curves import cosine_to_teacher, network_figures
from efq.toolchain.evaluation.certificate.galleries import arrangement, points_and_drops
from efq.toolchain.evaluation.certificate.matching import match_threshold
from efq.toolchain.evaluation.certificate.resamples import Resamples
from efq.toolchain.evaluation.certificate.scores import TwoNetworks, score
from efq.toolchain.evaluation.certificate.searches import SearchSplit, search_figures, split_searches
from efq.toolchain.evaluation.certificate.verdicts import deployed_threshold
from efq.toolchain.evaluation.figures.bootstrap import DEFAULT_RESAMPLES
from efq.toolchain.evaluation.figures.far import AllPairs, tar_at_far
from efq.toolchain.evaluation.figures.rates import decision_far
from efq.toolchain.evaluation.protocols.validity import check_embeddings, check_labels

FMRS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

TEACHER, STUDENT = ARRANGEMENTS[:2]

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Certified:
    """What a certificate is made from.

    teacher, student: (N, d) unit-length embeddings of the same images. labels: (N,) who is on them. faces,
    faces_sha256: what they are. attempts, failures_to_enrol: as in `Protocol`. deployed: the cosine threshold that is
    used with the teacher; None for its own at the certified FMR. cohorts: of the images, or none.
    """

    teacher: NDArray[np.float32]
    student: NDArray[np.float32]
    labels: NDArray[np.int64]
    faces: str
    faces_sha256: str | None
    attempts: int
    failures_to_enrol: int
    deployed: float | None = None
    cohorts: CohortLabels | None = None


def certify(
    found: Certified,
    binding: Binding,
    measured: str,
    *,
    resamples: int = DEFAULT_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Certificate:
    """Measure everything, without gates; `measured` is the date.

    Raises InputError for labels, embeddings or cohorts that nothing can be certified on: fewer than ten genuine pairs,
    or too few impostor pairs for an FMR of 1 %; UsageError for embeddings of two sizes, and for a deployed threshold as
    `match_threshold`.
    """
    _check(found)
    networks = TwoNetworks(teacher=found.teacher, student=found.student, labels=found.labels)
    drawn = Resamples(found.labels, resamples=resamples, seed=seed)
    _logger.info("certifying: all pairs of %s images, teacher and student mixed", f"{len(found.labels):,}")
    pairs = networks.all_arrangements()
    fmrs = _carried(pairs[TEACHER])
    certified = decision_far(fmrs)
    assert certified is not None
    points = points_and_drops(pairs, fmrs, resamples=resamples, seed=seed, confidence=confidence)
    deployed = tar_at_far(pairs[TEACHER], certified).threshold if found.deployed is None else found.deployed
    matched = {place: match_threshold(pairs[TEACHER], pairs[place], deployed, drawn.draws) for place in ARRANGEMENTS}
    scores = {place: score(networks, *place, floor=min(deployed, matched[place].threshold)) for place in ARRANGEMENTS}
    split = split_searches(found.labels)
    searches = {} if split is None else search_figures(networks, split, drawn, confidence)
    thresholds = {place: matched[place].threshold for place in ARRANGEMENTS}
    return Certificate(
        measured=measured,
        binding=binding,
        protocol=_protocol(found, pairs[TEACHER], certified, split, resamples, confidence, seed),
        cosine=cosine_to_teacher(found.student, found.teacher),
        teacher=network_figures(found.teacher, found.labels, points[TEACHER][0]),
        student=network_figures(found.student, found.labels, points[STUDENT][0]),
        drops=tuple(
            Drop(fmr=point.fmr, drop=drop, enough_impostors=point.enough_impostors)
            for point, drop in zip(*points[STUDENT], strict=True)
        ),
        deployed=deployed_threshold(
            scores[TEACHER],
            scores[STUDENT],
            deployed,
            matched[STUDENT],
            drawn,
            confidence,
            stated=found.deployed is not None,
        ),
        galleries=tuple(
            arrangement(
                place,
                points[place],
                scores[place],
                (deployed, thresholds[place]),
                searches.get(place),
                drawn,
                confidence,
            )
            for place in ARRANGEMENTS
        ),
        calibration=calibrate(found.student, found.labels),
        cohorts=None if found.cohorts is None else cohort_rates(found.cohorts, scores, thresholds, drawn, confidence),
        gates=(),
    )


def _check(found: Certified) -> None:
    check_labels(found.labels)
    for name, vectors in (("teacher", found.teacher), ("student", found.student)):
        check_embeddings(name, vectors)
    if found.teacher.shape != found.student.shape:
        message = (
            f"expected embeddings of one size of the same images, found {found.teacher.shape} by the teacher and "
            f"{found.student.shape} by the student; certify a student of this teacher"
        )
        raise UsageError(message)


def _carried(pairs: AllPairs) -> tuple[float, ...]:
    """The FMRs that enough impostor pairs decide. Raises InputError where none is."""
    fmrs = tuple(fmr for fmr in FMRS if tar_at_far(pairs, fmr).enough_impostors)
    if not fmrs:
        message = f"expected some 3,000 impostor pairs, for an FMR of {FMRS[0]}, found {pairs.impostor_pairs:,}; "
        raise InputError(message + "give more faces (--faces)")
    return fmrs


def _protocol(
    found: Certified,
    pairs: AllPairs,
    certified: float,
    split: SearchSplit | None,
    resamples: int,
    confidence: float,
    seed: int,
) -> Protocol:
    return Protocol(
        faces=found.faces,
        faces_sha256=found.faces_sha256,
        images=len(found.labels),
        identities=len(pairs.identity_sizes),
        genuine_pairs=len(pairs.genuine),
        impostor_pairs=pairs.impostor_pairs,
        attempts=found.attempts,
        failures_to_enrol=found.failures_to_enrol,
        certified_fmr=certified,
        enrolled=0 if split is None else len(split.enrolled),
        mated_searches=0 if split is None else int(split.mated.sum()),
        nonmated_searches=0 if split is None else int((~split.mated).sum()),
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )
