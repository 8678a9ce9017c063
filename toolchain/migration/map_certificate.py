"""What a map between two models costs, measured on people it was not fitted on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import GateError, InputError
from efq.runtime.gallery.record import EmbeddingModel
from efq.toolchain.evaluation.figures.cross_pairs import cross_pairs
from efq.toolchain.evaluation.figures.far import AllPairs, all_pairs, tar_at_far
from efq.toolchain.evaluation.figures.limits import enough_errors
from efq.toolchain.evaluation.figures.rates import far_name
from efq.toolchain.evaluation.figures.search import cmc, fnir_at_fpir, search_scores
from efq.toolchain.migration.mapping import FOLDS, KINDS, LinearMap, cosines, fit_map, out_of_fold
from efq.toolchain.migration.open_set import FPIRS, OpenSet, draw_open_set

FMRS = (1e-2, 1e-3, 1e-4)
_LEAST_GENUINE = 10

LEAST_PEOPLE = 2 * FOLDS
"""To fit on some, choose the strength on others and measure on others again."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """At one FMR, or FPIR of a search, fractions: thresholds are cosines. `enough`: 30 errors or more decide them."""

    rate: float
    new: float
    new_threshold: float
    mapped: float
    mapped_threshold: float
    enough: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapCertificate:
    """A map, cross-validated over people: `faces` of `identities`, each mapped by what `folds` less one fitted.

    cosine_mean, cosine_p1, cosine_min: of mapped embeddings to the new model's own. fnmr: by FMR, of genuine pairs of
    the new model alone (new) and of a mapped face and a new probe (mapped). search: FNIR by FPIR, one face each of
    `enrolled` people. rank1_new, rank1_mapped: searches that find the person first. pairs of digests: old, new.
    """

    old: EmbeddingModel
    new: EmbeddingModel
    kind: str
    strength: float
    folds: int
    faces: int
    identities: int
    cosine_mean: float
    cosine_p1: float
    cosine_min: float
    fnmr: tuple[Rates, ...]
    search: tuple[Rates, ...]
    enrolled: int
    rank1_new: float
    rank1_mapped: float

    @property
    def certified(self) -> Rates:
        """The rates at the lowest FMR that enough impostor pairs decide, or the highest."""
        decided = [rates for rates in self.fnmr if rates.enough]
        return decided[-1] if decided else self.fnmr[0]

    @property
    def loss(self) -> float:
        """The larger of what is lost of genuine matches at the certified FMR and of rank 1, points of a hundred."""
        return 100 * max(self.certified.mapped - self.certified.new, self.rank1_new - self.rank1_mapped)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        values = dataclasses.asdict(self)
        return values | {field: [dict(rates) for rates in values[field]] for field in ("fnmr", "search")}


def certify_maps(
    old: NDArray[np.float32],
    new: NDArray[np.float32],
    people: NDArray[np.int64],
    models: tuple[EmbeddingModel, EmbeddingModel],
    *,
    kinds: Sequence[str] = KINDS,
) -> list[tuple[MapCertificate, LinearMap]]:
    """Each kind of map of the same N faces, fitted on all of them, with what it costs on others; the best first.

    `old` (N, d) and `new` (N, e) of unit length, `people` (N,) who is on each, `models` both, old and new.

    Raises InputError for faces that are too few to measure on.
    """
    if len(np.unique(people)) < LEAST_PEOPLE:
        message = f"expected faces of {LEAST_PEOPLE} people or more to fit a map on, found {len(np.unique(people))}"
        raise InputError(message)
    own = all_pairs(new, people)
    if len(own.genuine) < _LEAST_GENUINE:
        message = f"expected {_LEAST_GENUINE} genuine pairs or more to measure a map on, found {len(own.genuine)}"
        raise InputError(message)
    chosen = draw_open_set(people)
    found = []
    for kind in kinds:
        mapped = out_of_fold(kind, old, new, people)
        fitted = fit_map(kind, old, new, people)
        found.append((_certificate(fitted, mapped, new, people, own, chosen, models), fitted))
    return sorted(found, key=lambda one: one[0].loss)


def check_map(certificate: MapCertificate, most: float) -> None:
    """Raise GateError where a map loses more than `most` points."""
    if certificate.loss > most:
        rates = certificate.certified
        message = (
            f"expected a map that loses at most {most:g} points, found {certificate.loss:.2f} with the best, "
            f"{certificate.kind}: FNMR {100 * rates.mapped:.2f} % beside {100 * rates.new:.2f} % of the new model "
            f"at FMR {far_name(rates.rate)}, rank 1 {100 * certificate.rank1_mapped:.2f} % beside "
            f"{100 * certificate.rank1_new:.2f} %; embed the crops again (--by re-embed), search with both models "
            "meanwhile (--by dual), or allow more (--max-loss)"
        )
        raise GateError(message)


def _certificate(
    fitted: LinearMap,
    mapped: NDArray[np.float32],
    new: NDArray[np.float32],
    people: NDArray[np.int64],
    own: AllPairs,
    chosen: OpenSet,
    models: tuple[EmbeddingModel, EmbeddingModel],
) -> MapCertificate:
    mixed = cross_pairs(mapped, new, people)
    likeness = cosines(mapped, new)
    enrolled, probes = chosen.people[chosen.enrolled], chosen.people[chosen.probes]
    searches = [
        search_scores(gallery[chosen.enrolled], enrolled, new[chosen.probes], probes) for gallery in (new, mapped)
    ]
    by_fpir = [tuple(fnir_at_fpir(scores, fpir, rank=1) for scores in searches) for fpir in FPIRS]
    rank1 = [float(cmc(scores, [1])[0]) for scores in searches]
    return MapCertificate(
        old=models[0],
        new=models[1],
        kind=fitted.kind,
        strength=fitted.strength,
        folds=FOLDS,
        faces=len(people),
        identities=len(np.unique(people)),
        cosine_mean=float(likeness.mean()),
        cosine_p1=float(np.percentile(likeness, 1)),
        cosine_min=float(likeness.min()),
        fnmr=tuple(_rates(own, mixed, fmr) for fmr in FMRS),
        search=tuple(
            Rates(
                rate=alone.fpir,
                new=alone.fnir,
                new_threshold=alone.threshold,
                mapped=both.fnir,
                mapped_threshold=both.threshold,
                enough=alone.enough_nonmated,
            )
            for alone, both in by_fpir
        ),
        enrolled=len(chosen.enrolled),
        rank1_new=rank1[0],
        rank1_mapped=rank1[1],
    )


def _rates(own: AllPairs, mixed: AllPairs, fmr: float) -> Rates:
    alone, both = tar_at_far(own, fmr), tar_at_far(mixed, fmr)
    return Rates(
        rate=fmr,
        new=1 - alone.tar,
        new_threshold=alone.threshold,
        mapped=1 - both.tar,
        mapped_threshold=both.threshold,
        enough=enough_errors(fmr * own.impostor_pairs),
    )
