"""Accuracy of teacher, student and artifact on the development faces, with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.demo.sources import Source
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.evaluation import (
    AllPairsResult,
    Evaluation,
    EvaluationFaces,
    FoldResult,
    embed_faces,
    evaluate,
    open_evaluation_faces,
)
from efq.toolchain.evaluation.figures.rates import SMALL_SET_FARS
from efq.toolchain.networks import EmbeddingNetwork, open_network


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkMeasurement:
    """One network: TAR@FAR over all pairs and ten-fold accuracy, both with the difference to the teacher.

    `cosine_mean`, `cosine_min`: over images, between this network's embedding and the teacher's.
    """

    kind: str
    all_pairs: AllPairsResult
    folds: FoldResult
    cosine_mean: float
    cosine_min: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """All networks on the same faces; `embeddings` (N, d) of the artifact are for the gallery search."""

    networks: tuple[NetworkMeasurement, ...]
    faces: EvaluationFaces
    embeddings: NDArray[np.float32]


def measure_networks(
    source: Source, student: Path, artifact: Path, *, resamples: int, progress: ShowProgress = no_progress
) -> Measurement:
    """Embed the development faces with all three networks and compare them with the teacher."""
    with open_network(artifact) as served:
        networks = [open_network(source.teacher, backbone=source.backbone), open_network(student), served]
        return _measure(networks, source, resamples=resamples, progress=progress)


def _measure(
    networks: Sequence[EmbeddingNetwork], source: Source, *, resamples: int, progress: ShowProgress
) -> Measurement:
    """The first is the teacher, the last the artifact."""
    faces = open_evaluation_faces(
        source.root,
        listing=source.dev,
        pairs_files=(source.pairs,),
        contract=networks[0].contract,
        progress=progress,
    )
    embeddings: dict[str, NDArray[np.float32]] = {
        network.kind: embed_faces(network.embed, faces.faces, title=f"embedding: {network.kind}", progress=progress)
        for network in networks
    }
    return Measurement(
        networks=measure_embeddings(embeddings, faces, teacher=networks[0].kind, resamples=resamples),
        faces=faces,
        embeddings=embeddings[networks[-1].kind],
    )


def measure_embeddings(
    embeddings: Mapping[str, NDArray[np.float32]], faces: EvaluationFaces, *, teacher: str, resamples: int
) -> tuple[NetworkMeasurement, ...]:
    """The figures of each network, by kind, whose embeddings (N, d) of all of `faces` are given."""
    itself = [(teacher, teacher)]
    found = evaluate(embeddings, faces, reference=teacher, also=itself, fars=SMALL_SET_FARS, resamples=resamples)
    return tuple(_measurement(found, teacher, kind) for kind in embeddings)


def _measurement(found: Evaluation, teacher: str, kind: str) -> NetworkMeasurement:
    network, agreement = found.networks[kind], found.agreements[teacher, kind]
    assert network.all_pairs is not None  # the demo compares all pairs
    assert agreement.cosine_mean is not None  # and networks of one embedding size
    assert agreement.cosine_min is not None
    return NetworkMeasurement(
        kind=kind,
        all_pairs=network.all_pairs,
        folds=network.folds[0],
        cosine_mean=agreement.cosine_mean,
        cosine_min=agreement.cosine_min,
    )
