"""Identity-balanced batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import UsageError


class IdentityBalancedSampler:
    """Batches of P * K image indices in which images of one identity come together, up to K of them.

    In every epoch each identity's images, in an order drawn anew, are cut into groups of at most K, the groups are put
    in an order drawn anew and the batches are cut from that sequence. So every image is seen once an epoch, genuine
    pairs are in every batch, and the many identities of one image fill the rest; an image is never twice in a batch.
    (Drawing P identities and K images of each would see the images of small identities far more often than others, and
    leave single images out.) The last batch of an epoch is filled up from the epoch's beginning.

    `batch(step)` depends on the arguments and `step` alone: training resumes at any step without a state.

    Args:
        labels: (N,) identity of each image.
        identities_per_batch: P.
        images_per_identity: K.
        seed: of all orders.
        rank, world_size: with several processes each gets its share, P * K / world_size images, of every batch.

    Raises UsageError when P * K is more than N or cannot be shared out evenly.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        *,
        identities_per_batch: int,
        images_per_identity: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.batch_size = identities_per_batch * images_per_identity
        if identities_per_batch < 1 or images_per_identity < 1 or self.batch_size > len(labels):
            message = (
                f"expected batches of 1 to {len(labels)} images, the size of the set, found {identities_per_batch} "
                f"identities x {images_per_identity} images; give more faces, or a recipe with smaller batches "
                "(identities_per_batch, images_per_identity)"
            )
            raise UsageError(message)
        if not 0 <= rank < world_size or self.batch_size % world_size:
            message = f"expected a batch that {world_size} processes share evenly, found {self.batch_size} images"
            raise UsageError(message)
        self._labels = np.asarray(labels)
        self._images_per_identity = images_per_identity
        self._seed = seed
        self._share = slice(
            rank * self.batch_size // world_size,
            (rank + 1) * self.batch_size // world_size,
        )
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch has: N / (P * K), rounded up."""
        return -(-len(self._labels) // self.batch_size)

    def batch(self, step: int) -> NDArray[np.int64]:
        """Indices of the images of batch `step` = 0, 1, ..., (P * K / world_size,) int64."""
        epoch, place = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            self._order, self._epoch = self._epoch_order(epoch), epoch
        places = np.arange(place * self.batch_size, (place + 1) * self.batch_size)
        return self._order[places % len(self._order)][self._share]

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        generator = np.random.default_rng((self._seed, epoch))
        shuffled = generator.permutation(len(self._labels))
        by_identity = shuffled[np.argsort(self._labels[shuffled], kind="stable")]
        labels = self._labels[by_identity]
        starts = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]]))
        sizes = np.diff(np.append(starts, len(labels)))
        place_in_identity = np.arange(len(labels)) - np.repeat(starts, sizes)
        group = np.cumsum(place_in_identity % self._images_per_identity == 0) - 1
        group_order = generator.permutation(group[-1] + 1)
        return by_identity[np.argsort(group_order[group], kind="stable")].astype(np.int64)
