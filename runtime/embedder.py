"""From aligned faces to embeddings: the one class a face-matching service needs."""

from __future__ import annotations

import dataclasses
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.arguments import flag, number, path_of, text
from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.folder import MODEL_FILE, Artifact
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.backends.calls import check_probe, embed_with, open_model
from efq.runtime.backends.model import Model
from efq.runtime.backends.target import AUTOMATIC, DEFAULT_TOLERANCE, OpenOptions, Target
from efq.runtime.errors import ChecksumError, DeviceError, IncompatibleArtifactError, UsageError
from efq.runtime.faces.batch import check_images
from efq.runtime.machine.forks import keep_for_ever
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.targets import find_target, targets

LARGEST_BATCH = 64

_CLOSED = "expected an open Embedder, found one that was closed; open it again"


class Embedder:
    """Computes face embeddings with the model of an artifact. Made by `Embedder.open`.

    Concurrency: one Embedder may be used by any number of threads at once, without locks; each call returns the
    same bytes as it would alone. The threads share the pool of `threads` workers, so a service that calls from
    many threads opens it with threads=1.

    Processes: the child of a fork opens the model again with its first call, in the same backend, as threads do not
    come along; so does the process that an Embedder is sent to (pickled it is its folder and options, and verified
    again: another model in it by then is a ChecksumError). A signal handler may close it.
    """

    def __init__(self, artifact: Artifact, model: Model, options: OpenOptions) -> None:
        self._artifact = artifact
        self._model_sha256 = artifact.checksums[MODEL_FILE]
        self._name = model.name
        self._options = _options_of_successors(options, model)
        self._model: Model | None = model
        self._closed = False
        self._opening = threading.RLock()
        _embedders.add(self)

    @classmethod
    def open(
        cls,
        directory: Path | str,
        device: str | None = None,
        threads: int | None = None,
        *,
        backend: str = AUTOMATIC,
        tolerance: float = DEFAULT_TOLERANCE,
        rebuild: bool = False,
        lean: bool = False,
        progress: ShowProgress = no_progress,
    ) -> Self:
        """Verify the artifact in `directory` and load its model.

        `device` None is the one its target is for: "cpu" for ort-cpu and openvino, "cuda:0" for trt and trt-rtx
        ("cuda:N" chooses another GPU). "cpu" with a TensorRT artifact computes its graph in ONNX Runtime's float
        kernels: the same numbers but for rounding, slowly, for checks without a GPU. `threads` is the most worker
        threads of one call on the CPU, of which ONNX Runtime uses one for a single image while that is faster; None
        takes every CPU the process may run on. `rebuild` builds an engine that is missing or was made for another
        machine again from the artifact's model, which takes seconds to minutes and is shown by `progress`. `lean` has
        ONNX Runtime plan no memory ahead for each size of a batch: for MobileFaceNet some 4 MB less for each thread
        that calls, and 2 % more time.

        `backend`, on the CPU: "onnxruntime", "openvino", "native" (EFQ's own kernels), "litert", or "auto": the runtime
        the artifact was exported for, or for ort-cpu another one installed that is at least a tenth faster here and
        whose embeddings agree (no cosine below 1 - `tolerance`). That is measured when an artifact is first opened on a
        machine, and remembered (in `$EFQ_CACHE`). A backend that is named gives the same bytes on x86 CPUs with and
        without VNNI. An artifact for openvino is for "openvino" only, one for litert for "litert".

        The artifact's probe image has to have the embedding that it had at export, in the runtime and on the machine
        that serve: other weights, kernels or drivers are a ProbeError. Artifacts of before there were probes have none.

        Raises IncompatibleArtifactError, SchemaError or ChecksumError for an artifact that cannot be used, EngineError
        for an engine that does not fit and `rebuild` not given, EngineBuildError when building fails, DeviceError for
        a device its target does not run on or that is not there, MissingDependencyError when TensorRT, a CUDA package
        or OpenVINO is needed and not installed, UsageError for a thread count below one, an unknown backend, and
        arguments of another type or range.
        """
        if not callable(progress):
            message = f"expected progress to be a function, as efq.runtime.progress has them, found {progress!r:.100}"
            raise UsageError(message)
        # Its folder is found again after the process, or a child, has gone to another one.
        artifact = Artifact.open(path_of(directory, "an artifact's folder").absolute())
        target = _target_of(artifact)
        options = OpenOptions(
            device=_chosen_device(target, device),
            threads=threads,
            backend=text(backend, "a backend by its name"),
            tolerance=number(tolerance, "a tolerance of 0 to 2", least=0, most=2),
            rebuild=flag(rebuild, "rebuild"),
            lean=flag(lean, "lean"),
            progress=progress,
        )
        return cls(artifact, open_model(target, artifact, options), options)

    @property
    def backend(self) -> str:
        """The runtime that computes the embeddings: "onnxruntime", "openvino", "tensorrt", or another target's own."""
        return self._name

    def close(self) -> None:
        """Free what the model holds, on a GPU its memory; later calls of `embed` raise UsageError.

        It waits for calls that are running. Closing again does nothing.
        """
        with self._opening:
            self._closed = True
            if self._model is not None:
                self._model.close()

    def __reduce__(self) -> tuple[Callable[..., Embedder], tuple[object, ...]]:
        if self._closed:
            raise UsageError(_CLOSED)
        return _open_again, (type(self), str(self._artifact.directory), self._options, self._model_sha256)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def artifact(self) -> Artifact:
        """The folder that was verified."""
        return self._artifact

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
        the dot product of their rows. Raises InputError for an array that is anything else, and naming the rows that
        hold no picture (of one value, or normalized before they became integers); UsageError once closed;
        IncompatibleArtifactError when the model fails or gives what are no such embeddings, DeviceError when a device
        or memory does.
        """
        check_images(images, self.contract)
        model = self._model_here()
        embeddings = np.empty((len(images), self.embedding_size), np.float32)
        for start in range(0, len(images), LARGEST_BATCH):
            part = np.ascontiguousarray(images[start : start + LARGEST_BATCH])
            embeddings[start : start + len(part)] = embed_with(model, part, artifact=self._artifact, first=start)
        return embeddings

    def check_probe(self) -> float | None:
        """Embed the artifact's probe image again: the cosine to what it was at export, None in an older artifact.

        `Embedder.open` has done so; a service may do so again, while it runs. Raises ProbeError when it is too low, and
        what `embed` raises.
        """
        return check_probe(self._model_here(), _target_of(self._artifact), self._artifact, self._options)

    def _model_here(self) -> Model:
        """The model, opened again in the child of a fork."""
        model = self._model
        if model is not None:
            return model
        with self._opening:
            if self._closed:
                raise UsageError(_CLOSED)
            if self._model is None:
                target = _target_of(self._artifact)
                self._model = open_model(target, self._artifact, self._options)
            return self._model

    def _forget_parent(self) -> None:
        """In the child of a fork: its parent's model is neither used nor freed, which would wait for threads."""
        if self._model is not None:
            keep_for_ever(self._model)
        self._model = None
        self._opening = threading.RLock()


_embedders: weakref.WeakSet[Embedder] = weakref.WeakSet()


def _after_fork() -> None:
    for embedder in list(_embedders):
        embedder._forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _open_again(kind: type[Embedder], directory: str, options: OpenOptions, model_sha256: str) -> Embedder:
    """What an Embedder that was pickled becomes. Raises ChecksumError for another model in its folder by now."""
    artifact = Artifact.open(directory)
    found = artifact.checksums[MODEL_FILE]
    if found != model_sha256:
        message = (
            f"expected the model that this Embedder was sent with, of SHA-256 {model_sha256}, in {directory}, found "
            f"{found}: it was replaced since; open the artifact again where it is sent from"
        )
        raise ChecksumError(message)
    return kind(artifact, open_model(_target_of(artifact), artifact, options), options)


def _options_of_successors(options: OpenOptions, model: Model) -> OpenOptions:
    """To open the model again in another process: in the same backend, without showing it."""
    backend = model.name if options.device == "cpu" and options.backend == AUTOMATIC else options.backend
    return dataclasses.replace(options, backend=backend, progress=no_progress, is_inherited=True)


def _target_of(artifact: Artifact) -> Target:
    """The artifact's target. Raises IncompatibleArtifactError for one that neither EFQ nor another package knows."""
    name = artifact.manifest.target
    try:
        return find_target(name)
    except UsageError as error:
        message = (
            f"expected an artifact for one of the targets {', '.join(targets())}, found {name!r}; update efq, or "
            "install the package that adds this target"
        )
        raise IncompatibleArtifactError(message) from error


def _chosen_device(target: Target, device: str | None) -> str:
    """The device to run on. Raises DeviceError for one the target does not run on."""
    kinds = target.devices
    chosen = kinds[0] if device is None else text(device, f"a device by its name, as {kinds[0]!r}")
    if chosen.partition(":")[0] not in kinds:
        message = (
            f"expected device {kinds[0]!r}, which an artifact for target {target.name!r} runs on, found {device!r}; "
            f"open it with device={kinds[0]!r}"
        )
        raise DeviceError(message)
    return chosen
