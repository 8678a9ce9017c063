"""An exported artifact, run through the same `Embedder` a user runs it with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.peer import Peer
from efq.benchmarks.peers.spec import PeerSpec
from efq.runtime import Embedder
from efq.runtime.artifact.folder import MODEL_FILE


class ArtifactOpener:
    """Opens EFQ's own networks, which no tool makes of the float teacher."""

    name = "artifact"

    def open(self, spec: PeerSpec, threads: int) -> Peer:
        """Open the artifact in `spec.backend`."""
        return ArtifactPeer(spec.name, Path(spec.path), threads=threads, backend=spec.backend)


class ArtifactPeer:
    """An artifact on `threads` threads in `backend`, "onnxruntime" or "openvino".

    Timed from uint8 images to unit-length embeddings, input checks included.
    """

    def __init__(self, name: str, directory: Path, *, threads: int, backend: str) -> None:
        self.name = name
        self.file_bytes = (directory / MODEL_FILE).stat().st_size
        self._embedder = Embedder.open(directory, threads=threads, backend=backend)

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The images, contiguous: nothing is left to prepare."""
        return np.ascontiguousarray(images)

    def run(self, prepared: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One inference: uint8 (N, H, W, 3) -> float32 (N, d), unit length."""
        return self._embedder.embed(prepared)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings of uint8 images (N, H, W, 3) RGB: float32 (N, d), unit length."""
        return self._embedder.embed(np.asarray(images))

    def close(self) -> None:
        """Free the model and its threads."""
        self._embedder.close()


TOOL = ArtifactOpener()
