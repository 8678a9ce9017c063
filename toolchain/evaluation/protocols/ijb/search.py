"""The 1:N protocol: probes searched in each gallery, those of its subjects and those of the other gallery's."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.toolchain.evaluation.figures.search import SearchScores, search_scores
from efq.toolchain.evaluation.protocols.ijb.benchmark import Subjects
from efq.toolchain.evaluation.protocols.ijb.verification import REJECTED

RANKS = (1, 5, 10)
FPIRS = (0.1, 0.01)

_NO_RANK = np.iinfo(np.int64).max


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
        rank=np.append(found.rank, np.full(len(missed), _NO_RANK)),
        nonmate=np.append(found.nonmate, np.full(len(silent), REJECTED, np.float32)),
        mate_person=np.append(found.mate_person, missed),
        nonmate_person=np.append(found.nonmate_person, silent),
    )
