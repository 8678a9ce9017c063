"""What the measurement on IJB-B or IJB-C asks of a network (`efq.toolchain.networks.EmbeddingNetwork` has it)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract


class Network(Protocol):
    """A teacher, a student or an artifact, open."""

    @property
    def kind(self) -> str:
        """What it is."""

    @property
    def name(self) -> str:
        """For messages and reports."""

    @property
    def path(self) -> Path:
        """Its file or folder."""

    @property
    def sha256(self) -> str:
        """Of its file."""

    @property
    def backend(self) -> str | None:
        """The runtime that computes an artifact."""

    @property
    def contract(self) -> InputContract:
        """What it takes."""

    @property
    def embed(self) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        """Maps uint8 (n, H, W, 3) RGB faces to float32 (n, d) of unit length."""

    @property
    def training_hashes(self) -> frozenset[str]:
        """First digits of the hashes of the images it was fine-tuned on."""

    @property
    def training_pixel_hashes(self) -> frozenset[str] | None:
        """Those of their pixels; None where they are not known."""

    @property
    def training_near_hashes(self) -> bytes | None:
        """Those by which their photos are known in other pixels (`TrainingData.near`); None where they are not."""
