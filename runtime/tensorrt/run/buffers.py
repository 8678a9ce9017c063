"""Memory for batches: on the GPU and page-locked beside it, growing only."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from efq.runtime.cuda.seam import Cuda, DevicePointer, Stream
from efq.runtime.errors import DeviceError


class BatchBuffer:
    """Device and pinned memory for up to `capacity` rows of one shape and dtype.

    Like all that holds CUDA memory here, it is used inside `Cuda.current_device()`.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._cuda = cuda
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._device: DevicePointer | None = None
        self._pinned: NDArray[np.uint8] | None = None
        self.capacity = 0

    @property
    def pointer(self) -> DevicePointer:
        """Where the rows are on the GPU; another address after each growth."""
        assert self._device is not None
        return self._device

    def rows(self, count: int) -> NDArray[Any]:
        """The first `count` rows of the pinned memory."""
        assert self._pinned is not None
        return self._pinned[: count * self._row_bytes].view(self._dtype).reshape(count, *self._shape)

    def reserve(self, count: int) -> None:
        """Make room for `count` rows, at another address if need be. Nothing that uses it may be pending.

        Raises DeviceError when there is no memory, and has room for nothing then.
        """
        if count <= self.capacity:
            return
        self.free()
        self._device = self._cuda.allocate(count * self._row_bytes)
        self._pinned = self._cuda.allocate_pinned(count * self._row_bytes)
        self.capacity = count

    def upload(self, count: int, stream: Stream) -> None:
        """Enqueue the copy of `count` pinned rows to the GPU."""
        self._cuda.copy_to_device(self.pointer, self.rows(count), stream)

    def download(self, count: int, stream: Stream) -> None:
        """Enqueue the copy of `count` rows from the GPU."""
        self._cuda.copy_to_host(self.rows(count), self.pointer, stream)

    def free(self) -> None:
        """Give the memory back, as far as CUDA still can."""
        device, pinned = self._device, self._pinned
        self._device, self._pinned, self.capacity = None, None, 0
        with contextlib.suppress(DeviceError):
            if device is not None:
                self._cuda.free(device)
        with contextlib.suppress(DeviceError):
            if pinned is not None:
                self._cuda.free_pinned(pinned)

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self._shape)) * self._dtype.itemsize
