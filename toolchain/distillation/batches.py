"""The augmented batches of a distillation, on the device that computes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from efq.toolchain.data import FaceSet, IdentityBalancedSampler, augment
from efq.toolchain.data.augmentation import Augmentation
from efq.toolchain.distillation.processes import Processes

Batch = tuple[NDArray[np.int64], Tensor]


class Batches:
    """Batch `step` of a run: the images' places in the set and their augmented views, uint8 (N, H, W, 3).

    A batch is a function of (seed, step, rank) alone. For a GPU a thread makes the next one while this one is
    computed, in page-locked memory, so that neither waits for the other; on a CPU there is no core to spare.
    """

    def __init__(
        self,
        faces: FaceSet,
        sampler: IdentityBalancedSampler,
        augmentation: Augmentation,
        *,
        seed: int,
        processes: Processes,
        ahead: bool | None = None,
    ) -> None:
        """`ahead` None makes the next batch early for a GPU only."""
        self._faces, self._sampler, self._augmentation = faces, sampler, augmentation
        self._seed, self._processes = seed, processes
        self._on_gpu = processes.device.type == "cuda"
        self._thread = ThreadPoolExecutor(1, "efq-batches") if (self._on_gpu if ahead is None else ahead) else None
        self._next: tuple[int, Future[Batch]] | None = None

    def at(self, step: int) -> Batch:
        """The batch of `step`; its copy to a GPU may still be under way, on the current stream."""
        if self._thread is None:
            places, views = self._make(step)
        else:
            expected, future = self._next or (None, None)
            if future is None or expected != step:
                future = self._thread.submit(self._make, step)
            places, views = future.result()
            self._next = step + 1, self._thread.submit(self._make, step + 1)
        return places, views.to(self._processes.device, non_blocking=True)

    def close(self) -> None:
        """End the thread, if there is one."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _make(self, step: int) -> Batch:
        places = self._sampler.batch(step)
        generator = np.random.default_rng((self._seed, step, self._processes.rank))
        views = torch.from_numpy(augment(self._faces.images[places], generator, self._augmentation))
        return places, views.pin_memory() if self._on_gpu else views
