"""True-accept rate at a false-accept rate (TAR@FAR) over all pairs of a labelled set of embeddings, exact.

Convention: a pair is accepted when its cosine similarity is above the threshold; the threshold at a FAR is the lowest
impostor similarity that at most this share of the impostor pairs is above; TAR is the share of genuine pairs above it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError
from efq.toolchain.evaluation.figures.blocks import HardestPairs, compare_in_blocks
from efq.toolchain.evaluation.figures.histogram import ScoreCounts, ScoreHistogram
from efq.toolchain.evaluation.figures.limits import enough_errors

_KEPT_AT_LEAST = 200_000
_RESAMPLING_MARGIN = 4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AllPairs:
    """Similarities of all pairs of a set of I identities: G genuine pairs, and the hardest K of all impostor pairs.

    A pair is two images, or of `cross_pairs` an enrolled image and a probe.

    genuine: (G,) float32, ascending; genuine_identity: (G,) int64, the label of each.
    impostor: (K,) float32, descending; impostor_identities: (K, 2) int32, the labels of each.
    impostor_pairs: how many impostor pairs there are.
    identity_sizes: (I,) int64, images of each label.
    scores: of all pairs; None where it was not counted.
    """

    genuine: NDArray[np.float32]
    genuine_identity: NDArray[np.int64]
    impostor: NDArray[np.float32]
    impostor_identities: NDArray[np.int32]
    impostor_pairs: int
    identity_sizes: NDArray[np.int64]
    scores: ScoreHistogram | None = None

    def impostors_of(self, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many impostor pairs (...) there are with the images of each identity counted `weights` (..., I) times."""
        twice = _ordered_pairs(weights * self.identity_sizes)
        return twice // (_ordered_pairs(self.identity_sizes) // self.impostor_pairs)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TarAtFar:
    """TAR at a FAR. `enough_impostors` is False where fewer than 30 false accepts set the threshold (`limits`)."""

    far: float
    tar: float
    threshold: float
    enough_impostors: bool


def _ordered_pairs(images: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(images.sum(axis=-1) ** 2 - (images**2).sum(axis=-1), np.int64)


def all_pairs(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], *, highest_far: float = 1e-2, block: int = 512
) -> AllPairs:
    """Compare all images with one another: unit-length `embeddings` (N, d), `labels` (N,).

    Works in blocks of `block` rows and keeps only the impostor pairs needed up to `highest_far`, with a margin for
    resampling: 20,000 x 512 needs about 1 GB. Raises InputError when there is no genuine or no impostor pair.
    """
    return compare_embeddings(embeddings, embeddings, labels, highest_far=highest_far, block=block, ordered=False)


def compare_embeddings(
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    highest_far: float,
    block: int,
    ordered: bool,
) -> AllPairs:
    """The pairs of images of which `compare_in_blocks` compares the embeddings; otherwise as `all_pairs`."""
    identity = np.unique(labels, return_inverse=True)[1].astype(np.int32)
    sizes = np.bincount(identity).astype(np.int64)
    impostor_pairs = int(len(identity) ** 2 - (sizes**2).sum()) // (1 if ordered else 2)
    if impostor_pairs == 0 or sizes.max() < 2:
        message = (
            "expected at least two identities, one of them with two images, to compare all pairs; "
            f"found {len(identity)} images of {len(sizes)} identities"
        )
        raise InputError(message)
    count = min(max(int(_RESAMPLING_MARGIN * highest_far * impostor_pairs) + 1, _KEPT_AT_LEAST), impostor_pairs)
    hardest, scores = HardestPairs(count), ScoreCounts()
    genuine: list[NDArray[np.float32]] = []
    genuine_identity: list[NDArray[np.int64]] = []
    for similarities, counted, same, rows, columns in compare_in_blocks(left, right, identity, block, ordered=ordered):
        of_one, of_two = same & counted, ~same & counted
        genuine.append(similarities[of_one])
        genuine_identity.append(rows[np.nonzero(of_one)[0]].astype(np.int64))
        hardest.add(similarities, of_two, rows, columns)
        scores.add(genuine[-1], similarities[of_two])
    order = np.argsort(np.concatenate(genuine), kind="stable")
    impostor, identities = hardest.descending()
    return AllPairs(
        genuine=np.concatenate(genuine)[order],
        genuine_identity=np.concatenate(genuine_identity)[order],
        impostor=impostor,
        impostor_identities=identities,
        impostor_pairs=impostor_pairs,
        identity_sizes=sizes,
        scores=scores.histogram(),
    )


def tar_at_far(pairs: AllPairs, far: float) -> TarAtFar:
    """TAR at one FAR, a share of impostor pairs. Raises UsageError where too few impostor pairs are kept for it."""
    place = min(int(far * pairs.impostor_pairs + 1e-9), pairs.impostor_pairs - 1)
    if not 0.0 <= far <= 1.0 or place >= len(pairs.impostor):
        message = f"expected a FAR of 0 to {len(pairs.impostor) / pairs.impostor_pairs:.3g}, found {far}"
        raise UsageError(message)
    threshold = pairs.impostor[place]
    accepted = len(pairs.genuine) - int(np.searchsorted(pairs.genuine, threshold, side="right"))
    return TarAtFar(
        far=far,
        tar=accepted / len(pairs.genuine),
        threshold=float(threshold),
        enough_impostors=enough_errors(far * pairs.impostor_pairs),
    )


def roc_curve(pairs: AllPairs, points: int = 200, highest_far: float = 1e-2) -> list[TarAtFar]:
    """TAR at FARs evenly spaced in the logarithm, from one impostor pair up to `highest_far`, for plots."""
    lowest = min(1.0 / pairs.impostor_pairs, highest_far)
    return [tar_at_far(pairs, float(far)) for far in np.geomspace(lowest, highest_far, points)]


def equal_decisions(
    first: NDArray[np.float32],
    first_threshold: float,
    second: NDArray[np.float32],
    second_threshold: float,
    *,
    block: int = 512,
) -> float:
    """Share of all pairs of images that two networks both accept or both reject, each at its own threshold.

    `first` (N, d), `second` (N, e): unit-length embeddings of the same images.
    """
    equal = 0
    for start in range(0, len(first), block):
        accepted = (first[start : start + block] @ first[start:].T) > first_threshold
        agreed = accepted == ((second[start : start + block] @ second[start:].T) > second_threshold)
        equal += int(agreed[np.arange(len(agreed))[:, None] < np.arange(agreed.shape[1])[None]].sum())
    return equal / (len(first) * (len(first) - 1) // 2)
