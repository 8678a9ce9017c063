"""The whole measurement on IJB-B or IJB-C."""

from __future__ import annotations

from collections.abc import Sequence

from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.evaluation.protocols.ijb.benchmark import IjbBenchmark
from efq.toolchain.evaluation.protocols.ijb.embedding import embed_templates
from efq.toolchain.evaluation.protocols.ijb.figures import search_galleries, verify_pairs
from efq.toolchain.evaluation.protocols.ijb.mode import IjbMode
from efq.toolchain.evaluation.protocols.ijb.network import Network
from efq.toolchain.evaluation.protocols.ijb.report import IjbReport
from efq.toolchain.evaluation.report import NetworkSummary


def measure_ijb(
    networks: Sequence[Network],
    benchmark: IjbBenchmark,
    mode: IjbMode,
    *,
    allow_training_images: bool = False,
    progress: ShowProgress = no_progress,
) -> IjbReport:
    """Measure the first of `networks`, the model, and beside it the second, the reference, if there is one.

    Raises InputError and UsageError as `embed_templates` does.
    """
    templates = embed_templates(
        networks, benchmark, mode, allow_training_images=allow_training_images, progress=progress
    )
    summaries = [
        NetworkSummary(
            kind=network.kind,
            name=network.name,
            path=str(network.path),
            sha256=network.sha256,
            training_images=count,
            backend=network.backend,
        )
        for network, count in zip(networks, templates.trained_on, strict=True)
    ]
    return IjbReport(
        model=summaries[0],
        reference=summaries[1] if len(summaries) > 1 else None,
        benchmark=benchmark.files.name,
        folder=str(benchmark.folder),
        lists_sha256=benchmark.sha256,
        mode=mode.name,
        images=len(benchmark),
        templates=len(benchmark.template_ids),
        failed_images=tuple(templates.failed),
        failed_templates=tuple(benchmark.template_ids[~templates.enrolled].tolist()),
        odd_landmarks=benchmark.odd_landmarks,
        clean=not any(templates.trained_on),
        verification=verify_pairs(templates, benchmark),
        searches=search_galleries(templates, benchmark),
    )
