"""From aligned faces to embeddings: the one class a face-matching service needs."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact import Artifact
from efq.runtime.backends.onnxruntime import OnnxRuntimeModel
from efq.runtime.contract import InputContract
from efq.runtime.errors import DeviceError, IncompatibleArtifactError, InputError
from efq.runtime.manifest import Manifest

LARGEST_BATCH = 64

_TARGET_DEVICES = {"ort-cpu": "cpu"}


class Embedder:
    """Computes face embeddings with the model of an artifact. Made by `Embedder.open`.

    Concurrency: one Embedder may be used by any number of threads at once, without locks; each call returns the
    same bytes as it would alone. The threads share the pool of `threads` workers, so a service that calls from
    many threads opens it with threads=1. It does not survive a fork: open it in the child process.
    """

    def __init__(self, artifact: Artifact, model: OnnxRuntimeModel) -> None:
        self._artifact = artifact
        self._model = model

    @classmethod
    def open(cls, directory: Path | str, device: str = "cpu", threads: int | None = None) -> Self:
        """Verify the artifact in `directory` and load its model.

        `threads` is the number of worker threads of one call; None takes every CPU the process may run on.
        Raises IncompatibleArtifactError, SchemaError or ChecksumError for an artifact that cannot be used,
        DeviceError for a device its target does not run on, UsageError for a thread count below one.
        """
        artifact = Artifact.open(directory)
        _check_device(artifact.manifest.target, device)
        model = OnnxRuntimeModel(artifact.model_path, threads=threads)
        artifact.check_model_metadata(model.metadata)
        model.check_signature(artifact.manifest.input, artifact.manifest.embedding_size)
        return cls(artifact, model)

    @property
    def manifest(self) -> Manifest:
        """What the model is and where it comes from."""
        return self._artifact.manifest

    @property
    def contract(self) -> InputContract:
        """What `embed` expects of an image."""
        return self._artifact.manifest.input

    @property
    def embedding_size(self) -> int:
        """d of the (N, d) embeddings."""
        return self._artifact.manifest.embedding_size

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed aligned RGB faces, uint8 (N, H, W, 3): a new float32 array (N, d) with rows of unit length.

        Any N above zero is accepted; large batches are computed in parts. The cosine similarity of two faces is
        the dot product of their rows. Raises InputError for an array that is anything else.
        """
        check_images(images, self.contract)
        embeddings = np.empty((len(images), self.embedding_size), np.float32)
        for start in range(0, len(images), LARGEST_BATCH):
            part = slice(start, start + LARGEST_BATCH)
            embeddings[part] = self._model.run(np.ascontiguousarray(images[part]))
        return embeddings


def check_images(images: NDArray[np.uint8], contract: InputContract) -> None:
    """Check that `images` is uint8 (N, H, W, 3) with N above zero. Raises InputError that says how to convert."""
    expected = f"expected images as a numpy array uint8 (N, {contract.height}, {contract.width}, 3), RGB"
    if not isinstance(images, np.ndarray):
        message = f"{expected}, found {type(images).__name__}; convert with numpy.asarray, or numpy.stack for a list"
        raise InputError(message)
    advice = _advice(images, contract)
    if advice:
        message = f"{expected}, found {images.dtype} {images.shape}; {advice}"
        raise InputError(message)


def _advice(images: NDArray[np.uint8], contract: InputContract) -> str | None:
    """How to make the array fit the contract, or None when it fits."""
    size, shape = (contract.height, contract.width), images.shape
    if shape[1:] != (*size, 3) or images.ndim != 4:
        if shape == (*size, 3):
            return "this is one image: pass image[None]"
        if shape[-3:] == (3, *size):
            return "the channels come first: pass images.transpose(0, 2, 3, 1), after [None] for one image"
        if shape[-2:] == size or shape[-3:] == (*size, 1):
            return "these are gray images: the network needs color; convert with cv2.cvtColor(..., cv2.COLOR_GRAY2RGB)"
        if shape[-3:] == (*size, 4):
            return "these have an alpha channel: pass images[..., :3]"
        if images.ndim == 4 and shape[-1] == 3:
            return "these have another size: align the faces with efq.runtime.align and their five landmarks"
        return "pass a batch of aligned color images, height x width x channels"
    if images.dtype != np.uint8:
        return "pass the pixels as decoded, 0 to 255, not normalized: images.astype(numpy.uint8) where they hold those"
    if not len(images):
        return "the batch is empty: pass at least one image"
    return None


def _check_device(target: str, device: str) -> None:
    runs_on = _TARGET_DEVICES.get(target)
    if runs_on is None:
        known = ", ".join(_TARGET_DEVICES)
        message = f"expected an artifact for one of the targets {known}, found {target!r}; update efq"
        raise IncompatibleArtifactError(message)
    if device != runs_on:
        message = (
            f"expected device {runs_on!r}, which an artifact for target {target!r} runs on, found {device!r}; "
            f"open it with device={runs_on!r}"
        )
        raise DeviceError(message)
