"""Accuracy of teacher, student and artifact on the development faces, with intervals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.accuracy.evaluation_faces import EvaluationFaces, open_evaluation_faces
from efq.benchmarks.demo.sources import Source
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.evaluation import AllPairsResult, FoldResult, measure_all_pairs, measure_folds
from efq.toolchain.networks import EmbeddingNetwork, open_network

FARS = (1e-2, 1e-3, 1e-4)
_CHUNK = 64


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
    """Embed the development faces with all three networks and compare the last two with the teacher."""
    networks = [open_network(source.teacher, backbone=source.backbone), open_network(student), open_network(artifact)]
    faces = open_evaluation_faces(
        source.root, listing=source.dev, pairs_files=(source.pairs,), contract=networks[0].contract
    )
    embeddings = [_embed(network, faces.faces.images, progress) for network in networks]
    measured = [
        _measure(network.kind, values, embeddings[0], faces, resamples)
        for network, values in zip(networks, embeddings, strict=True)
    ]
    return Measurement(networks=tuple(measured), faces=faces, embeddings=embeddings[-1])


def _measure(
    kind: str, model: NDArray[np.float32], teacher: NDArray[np.float32], faces: EvaluationFaces, resamples: int
) -> NetworkMeasurement:
    pairs = faces.pair_lists[0]
    cosine = np.einsum("ij,ij->i", model[faces.compared], teacher[faces.compared])
    return NetworkMeasurement(
        kind=kind,
        all_pairs=measure_all_pairs(
            model[faces.compared],
            faces.labels,
            reference=teacher[faces.compared],
            fars=FARS,
            resamples=resamples,
        ),
        folds=measure_folds(
            pairs.name,
            model,
            pairs.first,
            pairs.second,
            pairs.same,
            pairs.folds,
            reference=teacher,
            skipped_pairs=pairs.skipped,
            resamples=resamples,
        ),
        cosine_mean=float(cosine.mean()),
        cosine_min=float(cosine.min()),
    )


def _embed(network: EmbeddingNetwork, images: NDArray[np.uint8], progress: ShowProgress) -> NDArray[np.float32]:
    parts = []
    with progress(f"embedding: {network.kind}", len(images), "images") as bar:
        for start in range(0, len(images), _CHUNK):
            parts.append(network.embed(np.ascontiguousarray(images[start : start + _CHUNK])))
            bar.advance(len(parts[-1]))
    return np.concatenate(parts)
