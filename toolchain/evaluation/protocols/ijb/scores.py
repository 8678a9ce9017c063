"""The similarities that the 1:1 protocol lists, and that the searches of the 1:N protocol find."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.toolchain.evaluation.figures.far import AllPairs
from efq.toolchain.evaluation.figures.search import SearchScores, search_scores
from efq.toolchain.evaluation.protocols.ijb.benchmark import Subjects, TemplatePairs

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
RANKS = (1, 5, 10)
FPIRS = (0.1, 0.01)

REJECTED = -2.0
"""In place of a similarity where a template could not be enrolled: below every cosine, and so never accepted."""

_BLOCK = 8192
_NO_RANK = np.iinfo(np.int64).max


def template_similarities(
    features: NDArray[np.float32], enrolled: NDArray[np.bool_], pairs: TemplatePairs
) -> NDArray[np.float32]:
    """Cosines (P,) of `pairs` of templates `features` (T, d) of length 1, `REJECTED` unless both are `enrolled` (T,).

    A transaction that fails to enrol or to acquire is one that does not match: the rates are the generalized false
    reject rate and false accept rate of ISO/IEC 19795-1.
    """
    similarities = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _BLOCK):
        chosen = slice(start, start + _BLOCK)
        first, second = pairs.first[chosen], pairs.second[chosen]
        cosines = np.einsum("ij,ij->i", features[first], features[second])
        similarities[chosen] = np.where(enrolled[first] & enrolled[second], cosines, REJECTED)
    return similarities


def listed_pairs(similarities: NDArray[np.float32], pairs: TemplatePairs, templates: int) -> AllPairs:
    """The pairs as `tar_at_far` takes them, those of different subjects up to the highest of `FARS`.

    Nothing says who is in a template: its label is its own place of `templates`.
    """
    genuine, impostor = np.flatnonzero(pairs.same), np.flatnonzero(~pairs.same)
    genuine = genuine[np.argsort(similarities[genuine], kind="stable")]
    kept = min(int(max(FARS) * len(impostor)) + 1, len(impostor))
    hardest = impostor[np.argpartition(-similarities[impostor], kept - 1)[:kept]]
    hardest = hardest[np.argsort(-similarities[hardest], kind="stable")]
    return AllPairs(
        genuine=similarities[genuine],
        genuine_identity=pairs.first[genuine].astype(np.int64),
        impostor=similarities[hardest],
        impostor_identities=np.stack([pairs.first[hardest], pairs.second[hardest]], axis=1),
        impostor_pairs=len(impostor),
        identity_sizes=np.ones(templates, np.int64),
    )


def search_gallery(
    features: NDArray[np.float32], enrolled: NDArray[np.bool_], gallery: Subjects, probes: Subjects
) -> SearchScores:
    """Search `probes` in `gallery` by templates `features` (T, d) of length 1.

    A template that is not `enrolled` (T,) finds and is found by nobody (ISO/IEC 19795-1): the searches for its subject,
    and its own with a subject in the gallery, are misses at every rank and threshold; its own without one are no false
    positives.
    """
    people = gallery.subjects[enrolled[gallery.templates]]
    mated = np.isin(probes.subjects, gallery.subjects)
    usable = enrolled[probes.templates]
    searched = usable & (~mated | np.isin(probes.subjects, people))
    found = search_scores(
        features[gallery.templates[enrolled[gallery.templates]]],
        people,
        features[probes.templates[searched]],
        probes.subjects[searched],
    )
    missed, silent = probes.subjects[mated & ~searched], probes.subjects[~mated & ~usable]
    return dataclasses.replace(
        found,
        mate=np.append(found.mate, np.full(len(missed), REJECTED, np.float32)),
        other=np.append(found.other, np.full(len(missed), REJECTED, np.float32)),
        rank=np.append(found.rank, np.full(len(missed), _NO_RANK)),
        nonmate=np.append(found.nonmate, np.full(len(silent), REJECTED, np.float32)),
        mate_person=np.append(found.mate_person, missed),
        nonmate_person=np.append(found.nonmate_person, silent),
    )
