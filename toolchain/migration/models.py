"""A model of a migration, old or new: an artifact, without torch, or a teacher or student file."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.folder import CERTIFICATE_FILE
from efq.runtime.artifact.training_data import TrainingData
from efq.runtime.backends.target import AUTOMATIC
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.embedder import Embedder
from efq.runtime.gallery.models import model_of
from efq.runtime.gallery.record import EmbeddingModel
from efq.runtime.progress import ShowProgress, no_progress

if TYPE_CHECKING:
    from efq.toolchain.networks import EmbeddingNetwork

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenModel:
    """`embed` maps uint8 (N, H, W, 3) RGB faces of `contract` to float32 (N, d) of unit length.

    training: reads what it was fine-tuned on; None for a teacher, of which nobody knows. certificate,
    certificate_sha256: of an artifact that has one, else None.
    """

    path: Path
    model: EmbeddingModel
    contract: InputContract
    embed: Embed
    training: Callable[[], TrainingData] | None = None
    certificate: Certificate | None = None
    certificate_sha256: str | None = None


@contextlib.contextmanager
def open_model(
    path: Path,
    *,
    threads: int | None = None,
    device: str | None = None,
    backend: str = AUTOMATIC,
    progress: ShowProgress = no_progress,
) -> Iterator[OpenModel]:
    """Open an artifact folder, a teacher of any format or a student file.

    Raises as `Embedder.open`, and `open_network` of `efq.toolchain.networks` for files.
    """
    if path.is_dir():
        with Embedder.open(path, device, threads, backend=backend, progress=progress) as embedder:
            yield OpenModel(
                path=path,
                model=model_of(embedder.artifact),
                contract=embedder.contract,
                embed=embedder.embed,
                training=embedder.artifact.training_data,
                certificate=embedder.artifact.certificate(),
                certificate_sha256=embedder.artifact.checksums.get(CERTIFICATE_FILE),
            )
        return
    from efq.toolchain.networks import open_network

    with open_network(path, threads=threads, device=device, runtime=backend) as network:
        size = len(network.embed(np.zeros((1, network.contract.height, network.contract.width, 3), np.uint8))[0])
        model = EmbeddingModel(sha256=network.sha256, name=network.name, embedding_size=size)
        training = None if network.teacher is not None else _training_of(network)
        yield OpenModel(path=path, model=model, contract=network.contract, embed=network.embed, training=training)


def _training_of(network: EmbeddingNetwork) -> Callable[[], TrainingData]:
    return lambda: TrainingData(files=network.training_hashes, pixels=network.training_pixel_hashes)
