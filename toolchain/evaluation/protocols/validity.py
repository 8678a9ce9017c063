"""Whether an evaluation can mean anything, asked before any figure is given."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.evaluation.figures.far import AllPairs
from efq.toolchain.evaluation.figures.separation import refuse_collapsed
from efq.toolchain.evaluation.protocols.copies import check_repeats

ENOUGH_PAIRS = 10
"""Of one kind, of which a share is worth giving."""

FEW_IDENTITIES = 20
"""Below it a bootstrap over identities is too narrow (Cameron, Gelbach and Miller, 2008: 5 to 30 clusters)."""

_HARDEST = 1e-3  # of the impostor pairs, the most alike
_SIBLINGS = 0.5  # of the hardest pairs in one folder above, where hardly any pair is:
_FEW_SIBLINGS = 0.1

_UNIT_TOLERANCE = 0.01
_NAMED = 3

_logger = logging.getLogger(__name__)


def check_embeddings(name: str, embeddings: NDArray[np.float32]) -> None:
    """Raise InputError unless `embeddings` (N, d) of N different images are finite, of unit length, and not all equal.

    `name` is the network's, for the message.
    """
    if embeddings.ndim != 2 or not embeddings.size:
        message = f"expected embeddings (N, d) from {name}, found an array of shape {embeddings.shape}"
        raise InputError(message)
    refuse_collapsed(embeddings, name, error_class=InputError)
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    if np.abs(lengths - 1.0).max() > _UNIT_TOLERANCE:
        found = f"lengths of {lengths.min():.4g} to {lengths.max():.4g}"
        message = f"expected embeddings of length 1 from {name}, found {found}; divide them by their length"
        raise InputError(message)


def check_labels(labels: NDArray[np.int64]) -> None:
    """Raise InputError unless the images of `labels` (N,) give ten genuine pairs and an impostor pair."""
    sizes, genuine = np.unique(labels, return_counts=True)[1], count_genuine(labels)
    if genuine < ENOUGH_PAIRS or len(sizes) < 2:
        message = (
            f"expected at least {ENOUGH_PAIRS} genuine pairs and an impostor pair to compare all pairs, found "
            f"{len(labels)} images of {len(sizes)} identities with {genuine} genuine pairs; give more faces, or say "
            "which folder names the person (--identity-level)"
        )
        raise InputError(message)
    if len(sizes) < FEW_IDENTITIES:
        _logger.warning(
            "%d identities give impostor pairs of %d couples of people only: rates and their intervals say little "
            "about others",
            len(sizes),
            len(sizes) * (len(sizes) - 1) // 2,
        )


def count_genuine(labels: NDArray[np.int64]) -> int:
    """Genuine pairs among images of `labels` (N,)."""
    sizes = np.unique(labels, return_counts=True)[1]
    return int((sizes * (sizes - 1) // 2).sum())


def check_pairs(
    name: str,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    same: NDArray[np.bool_],
    folds: NDArray[np.int64],
) -> None:
    """Raise InputError unless the listed pairs `name` can mean something: `check_ends`, `check_repeats`, `check_folds`.

    `first`, `second` (P,) are places of the images.
    """
    check_ends(name, first, second)
    check_repeats(name, first, second, same)
    check_folds(name, same, folds)


def check_folds(name: str, same: NDArray[np.bool_], folds: NDArray[np.int64]) -> None:
    """Raise InputError unless the pairs `name` (`same`, `folds` (P,)) are ten of each kind or more, both in every fold.

    Without either, any threshold, and so any network, can be right on a fold, or none is known from the others.
    """
    known = np.unique(folds)
    if len(known) < 2:
        message = f"expected pairs of different, readable images in at least two folds of {name}, found {len(known)}"
        raise InputError(message)
    for fold in known:
        inside = same[folds == fold]
        if inside.all() or not inside.any():
            found = f"{len(inside)} {'genuine' if inside.all() else 'impostor'} ones alone in fold {fold}"
            message = f"expected genuine and impostor pairs in every fold of {name}, found {found}"
            raise InputError(message)
    genuine = int(same.sum())
    if min(genuine, len(same) - genuine) < ENOUGH_PAIRS:
        message = (
            f"expected at least {ENOUGH_PAIRS} genuine and {ENOUGH_PAIRS} impostor pairs in {name}, found {genuine} "
            f"and {len(same) - genuine}: an accuracy of so few says nothing"
        )
        raise InputError(message)


def check_ends(name: str, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
    """Raise InputError unless the pairs `name` are of two images each, at the places `first` and `second` (P,)."""
    itself = np.flatnonzero(first == second)
    if len(itself):
        message = f"expected pairs of two images in {name}, found image {first[itself[0]]} paired with itself"
        raise InputError(message)


def check_impostors(pairs: AllPairs, names: Sequence[str], source: str) -> None:
    """Raise InputError where the identities `names` (I,) of `source`, "a/b", are rather parts of people, "a".

    That is so where most of the impostor pairs that are most alike lie in one folder above, and hardly any others do.
    """
    above = np.unique([name.rpartition("/")[0] for name in names], return_inverse=True)[1]
    images = np.bincount(above, weights=pairs.identity_sizes)
    expected = ((images**2).sum() - (pairs.identity_sizes.astype(float) ** 2).sum()) / 2 / pairs.impostor_pairs
    hardest = above[pairs.impostor_identities[: int(_HARDEST * pairs.impostor_pairs)]]
    if not len(hardest) or expected > _FEW_SIBLINGS:
        return
    found = float((hardest[:, 0] == hardest[:, 1]).mean())
    if found > _SIBLINGS:
        message = (
            f"expected a folder for each person in {source}, found that {100 * found:.0f} % of the impostor pairs that "
            f"are most alike lie in one folder above, and {100 * expected:.1f} % of all: the folders above seem to be "
            f"the people; give --identity-level {names[0].count('/')}, or leaf if each folder is a person all the same"
        )
        raise InputError(message)


def warn_of_labels(pairs: AllPairs, names: Sequence[str], network: str) -> None:
    """A warning where few couples of the identities `names` (I,) are as alike to `network` as one person is.

    Those are one person under two names, or an image in the wrong folder. Of a network that takes many people for one
    another there are more such couples than identities, and nothing is said.
    """
    alike = pairs.impostor >= np.median(pairs.genuine)
    couples = np.unique(np.sort(pairs.impostor_identities[alike], axis=1), axis=0)
    if not 0 < len(couples) <= len(names):
        return
    _logger.warning(
        "%d impostor pairs are more alike to %s than half of the genuine ones, of the identities %s%s: if those are "
        "one person, or an image is in the wrong folder, what is measured is too low",
        int(alike.sum()),
        network,
        ", ".join(f"{names[one]} and {names[other]}" for one, other in couples[:_NAMED]),
        f" and {len(couples) - _NAMED} couples more" if len(couples) > _NAMED else "",
    )
