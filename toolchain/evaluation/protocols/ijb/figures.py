"""The figures of IJB-B and IJB-C by the templates of one network, or of two beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from efq.toolchain.evaluation.figures.far import tar_at_far
from efq.toolchain.evaluation.figures.search import SearchScores, cmc, fnir_at_fpir
from efq.toolchain.evaluation.protocols.ijb.benchmark import IjbBenchmark, Subjects
from efq.toolchain.evaluation.protocols.ijb.embedding import EmbeddedTemplates
from efq.toolchain.evaluation.protocols.ijb.report import (
    FnirRow,
    RankRow,
    SearchResult,
    Share,
    TarRow,
    VerificationResult,
)
from efq.toolchain.evaluation.protocols.ijb.scores import (
    FARS,
    FPIRS,
    RANKS,
    listed_pairs,
    search_gallery,
    template_similarities,
)


def verify_pairs(templates: EmbeddedTemplates, benchmark: IjbBenchmark) -> VerificationResult | None:
    """The 1:1 protocol by the first network and, if there is one, the second, the reference; None without the list."""
    listed = benchmark.pairs
    if listed is None:
        return None
    count, enrolled = len(benchmark.template_ids), templates.enrolled
    compared = [
        listed_pairs(template_similarities(features, enrolled, listed), listed, count)
        for features in templates.features
    ]
    failed = ~(enrolled[listed.first] & enrolled[listed.second])
    rows = []
    for far in FARS:
        found = [tar_at_far(pairs, far) for pairs in compared]
        rows.append(
            TarRow(
                far=far,
                tar=_share([point.tar for point in found]),
                threshold=found[0].threshold,
                reference_threshold=found[1].threshold if len(found) > 1 else None,
                enough_impostors=found[0].enough_impostors,
            )
        )
    return VerificationResult(
        genuine_pairs=int(listed.same.sum()),
        impostor_pairs=int((~listed.same).sum()),
        failed_genuine_pairs=int((failed & listed.same).sum()),
        failed_impostor_pairs=int((failed & ~listed.same).sum()),
        rows=tuple(rows),
    )


def search_galleries(templates: EmbeddedTemplates, benchmark: IjbBenchmark) -> tuple[SearchResult, ...]:
    """The 1:N protocol: a result a gallery, and the mean of all; () without the lists."""
    if benchmark.probes is None:
        return ()
    results = [_search(templates, gallery, benchmark.probes) for gallery in benchmark.galleries]
    return (*results, _mean(results))


def _search(templates: EmbeddedTemplates, gallery: Subjects, probes: Subjects) -> SearchResult:
    enrolled = templates.enrolled
    found = [search_gallery(features, enrolled, gallery, probes) for features in templates.features]
    mated = np.isin(probes.subjects, gallery.subjects)
    lost = ~enrolled[probes.templates]
    nobody = mated & ~np.isin(probes.subjects, gallery.subjects[enrolled[gallery.templates]])
    identified = [cmc(scores, RANKS) for scores in found]
    return SearchResult(
        gallery=gallery.name,
        subjects=len(np.unique(gallery.subjects)),
        mated=int(mated.sum()),
        nonmated=int((~mated).sum()),
        failed_mated=int((mated & (lost | nobody)).sum()),
        failed_nonmated=int((~mated & lost).sum()),
        ranks=tuple(
            RankRow(rank=rank, identified=_share([float(shares[place]) for shares in identified]))
            for place, rank in enumerate(RANKS)
        ),
        fnir=tuple(_fnir(found, fpir) for fpir in FPIRS) if (~mated).any() else (),
    )


def _fnir(found: Sequence[SearchScores], fpir: float) -> FnirRow:
    points = [fnir_at_fpir(scores, fpir) for scores in found]
    return FnirRow(
        fpir=fpir,
        fnir=_share([point.fnir for point in points]),
        threshold=points[0].threshold,
        reference_threshold=points[1].threshold if len(points) > 1 else None,
        enough_nonmated=points[0].enough_nonmated,
    )


def _mean(results: Sequence[SearchResult]) -> SearchResult:
    """Of the rates of all galleries, each counted once."""
    fnir = zip(*(result.fnir for result in results), strict=True) if all(result.fnir for result in results) else ()
    return SearchResult(
        gallery=f"mean of {len(results)} galleries",
        subjects=sum(result.subjects for result in results),
        mated=sum(result.mated for result in results),
        nonmated=sum(result.nonmated for result in results),
        failed_mated=sum(result.failed_mated for result in results),
        failed_nonmated=sum(result.failed_nonmated for result in results),
        ranks=tuple(
            RankRow(rank=rows[0].rank, identified=_mean_share([row.identified for row in rows]))
            for rows in zip(*(result.ranks for result in results), strict=True)
        ),
        fnir=tuple(
            FnirRow(
                fpir=rows[0].fpir,
                fnir=_mean_share([row.fnir for row in rows]),
                threshold=None,
                reference_threshold=None,
                enough_nonmated=all(row.enough_nonmated for row in rows),
            )
            for rows in fnir
        ),
    )


def _share(values: Sequence[float]) -> Share:
    """Of the model, and of the reference where there is a second value."""
    if len(values) == 1:
        return Share(model=values[0])
    model, reference = values
    return Share(model=model, reference=reference, difference=model - reference)


def _mean_share(shares: Sequence[Share]) -> Share:
    sides = zip(*((share.model, share.reference) for share in shares), strict=True)
    return _share([float(np.mean(side)) for side in sides if None not in side])
