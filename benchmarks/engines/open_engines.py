"""An engine on a GPU, run by the same `TensorRTModel` a user runs an artifact with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.peer import Peer
from efq.benchmarks.peers.spec import PeerSpec
from efq.runtime.tensorrt.run.model import TensorRTModel


class TensorRTPeer:
    """An open engine. Timed from uint8 images in host memory to unit-length embeddings in host memory."""

    def __init__(self, name: str, model: TensorRTModel, *, plan_bytes: int) -> None:
        self.name = name
        self.file_bytes = plan_bytes
        self.model = model

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The images, contiguous: nothing is left to prepare."""
        return np.ascontiguousarray(images)

    def run(self, prepared: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One inference, both copies included: uint8 (N, H, W, 3) -> float32 (N, d), unit length."""
        return self.model.run(prepared)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings of uint8 images (N, H, W, 3) RGB: float32 (N, d), unit length."""
        return self.model.run(np.asarray(images))

    def close(self) -> None:
        """Nothing: GPU time is measured later, and who opened the model closes it."""


class OpenEngines:
    """Opens engines that are open already, and were measured when they were opened."""

    name = "engine"

    def __init__(self) -> None:
        self.peers: list[TensorRTPeer] = []

    def open(self, spec: PeerSpec, threads: int) -> Peer:
        """The engine, which runs on the GPU whatever the number of threads."""
        return next(peer for peer in self.peers if peer.name == spec.name)


class DeviceClock:
    """A clock that only GPU time moves, in seconds: `efq.benchmarks.timing.latency` reads it in place of the host's."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class DeviceTimed:
    """The GPU time of an engine by CUDA events, without copies, on images that are on the GPU already."""

    def __init__(self, peer: TensorRTPeer, clock: DeviceClock) -> None:
        self._model = peer.model
        self._clock = clock

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Leave the images in the buffer that the next run reads: what is multiplied decides the power it takes."""
        self._model.run(images)
        return images

    def run(self, prepared: NDArray[np.uint8]) -> None:
        """One inference; moves the clock by the time between the events around it."""
        (milliseconds,) = self._model.device_milliseconds(len(prepared), 1)
        self._clock.seconds += milliseconds / 1e3
