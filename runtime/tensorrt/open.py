"""Open an artifact's engine on a GPU: check it, or build it again from the artifact's model."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.folder import ENGINE_FOLDER, MODEL_FILE, Artifact
from efq.runtime.artifact.listing import check_inside
from efq.runtime.artifact.model_check import check_model
from efq.runtime.artifact.onnx_metadata import onnx_metadata_of
from efq.runtime.backends.model import Model
from efq.runtime.backends.open import open_on_cpu
from efq.runtime.backends.target import AUTOMATIC, OpenOptions, Target
from efq.runtime.cuda.seam import Cuda, open_cuda
from efq.runtime.errors import DeviceError, EngineError, InputError, UsageError
from efq.runtime.files import atomic_write_bytes, temporary_folder
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.reading import read_bytes
from efq.runtime.tensorrt.engine_cache import read_engine, read_fingerprint, rebuild_engine
from efq.runtime.tensorrt.fingerprint import EngineMachine, Fingerprint
from efq.runtime.tensorrt.module import import_tensorrt
from efq.runtime.tensorrt.run.model import TensorRTModel

RUNTIME_CACHE_FILE = "runtime.cache"

_CACHE_LIMIT = 2**31


class ArtifactEngine:
    """The engine of an artifact, a `Model`: on closing it keeps what was compiled for the next process."""

    name = TensorRTModel.name

    def __init__(self, artifact: Artifact, engine: TensorRTModel) -> None:
        self._artifact = artifact
        self._engine = engine

    @property
    def metadata(self) -> Mapping[str, str]:
        """Those of the model that the engine was built from."""
        return onnx_metadata_of(self._artifact.model_bytes(), self._artifact.model_path)

    def check_signature(self, contract: InputContract, embedding_size: int) -> None:
        """See `TensorRTModel.check_signature`."""
        self._engine.check_signature(contract, embedding_size)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `TensorRTModel.run`."""
        return self._engine.run(images)

    def close(self) -> None:
        """Keep the compiled kernels in the artifact, then free the GPU's memory."""
        try:
            _save_runtime_cache(self._artifact, self._engine)
        finally:
            self._engine.close()


def open_tensorrt(target: Target, artifact: Artifact, options: OpenOptions) -> Model:
    """The artifact's engine on a GPU, or its graph on the CPU, in float kernels, for checks without a GPU.

    Raises what `open_engine` or `open_on_cpu` raise, UsageError for a backend that is named with a GPU.
    """
    if options.device == "cpu":
        own = target.backends[0] if options.backend == AUTOMATIC else options.backend
        return open_on_cpu(target, artifact, dataclasses.replace(options, backend=own))
    if options.backend != AUTOMATIC:
        found = f"{options.backend!r} with device {options.device!r}"
        message = f"expected a backend for the CPU only, found {found}; leave it out"
        raise UsageError(message)
    engine = open_engine(artifact, options.device, rebuild=options.rebuild, progress=options.progress)
    return ArtifactEngine(artifact, engine)


def open_engine(
    artifact: Artifact, device: str, *, rebuild: bool, progress: ShowProgress = no_progress
) -> TensorRTModel:
    """The engine of `artifact` on the GPU `device` (`cuda:N`).

    With `rebuild` an engine that is missing or was built for something else is built again and kept in the artifact.
    Raises MissingDependencyError without TensorRT, DeviceError without a GPU or driver, EngineError for an engine that
    does not fit, ChecksumError for an engine folder that is a link to elsewhere, and what building raises.
    """
    check_inside(artifact.directory, ENGINE_FOLDER)  # it may be replaced
    module = import_tensorrt(artifact.manifest.target)
    cuda = open_cuda(device)
    plan, fingerprint = _plan_for(artifact, machine_of(module, cuda), device, rebuild=rebuild, progress=progress)
    opened = TensorRTModel(
        plan,
        module=module,
        cuda=cuda,
        allow_host_code=fingerprint.options.version_compatible,
        runtime_cache=_read_runtime_cache(artifact.directory / ENGINE_FOLDER, fingerprint),
        interface=artifact.manifest.surface,
    )
    try:
        opened.check_signature(artifact.manifest.input, artifact.manifest.embedding_size)
    except EngineError:
        opened.close()
        raise
    return opened


def _plan_for(
    artifact: Artifact, machine: EngineMachine, device: str, *, rebuild: bool, progress: ShowProgress
) -> tuple[bytes, Fingerprint]:
    folder, model = artifact.directory / ENGINE_FOLDER, artifact.model_path
    try:
        return read_engine(folder, model, machine)
    except EngineError:
        if not rebuild:
            raise
    content = artifact.model_bytes()
    check_model(content, model)
    with temporary_folder("efq-model") as temporary:  # built from what was checked
        copy = temporary / MODEL_FILE
        copy.write_bytes(content)
        return rebuild_engine(
            folder,
            copy,
            artifact.manifest.target,
            machine,
            device=device,
            allow_float=_has_float_products(artifact),
            progress=progress,
        )


def _save_runtime_cache(artifact: Artifact, model: TensorRTModel) -> None:
    """Keep what TensorRT-RTX compiled for this GPU, so that the next process starts without compiling.

    The cache is a convenience: where the artifact cannot be written or has lost its fingerprint, the model is closed
    or the GPU fails, nothing is kept. A link in its place is left alone, for what it leads to would be replaced.
    """
    folder = artifact.directory / ENGINE_FOLDER
    if (folder / RUNTIME_CACHE_FILE).is_symlink():
        return
    with contextlib.suppress(UsageError, EngineError, DeviceError, OSError):
        content = model.serialized_runtime_cache()
        if content:
            plan = read_fingerprint(folder).plan_sha256
            atomic_write_bytes(folder / RUNTIME_CACHE_FILE, plan.encode("ascii") + content)


def _has_float_products(artifact: Artifact) -> bool:
    """Whether the artifact was exported with products in float, as its coverage says."""
    counts = artifact.manifest.coverage.get("multiply_adds")
    return isinstance(counts, Mapping) and counts.get("integer") != counts.get("total")


def _read_runtime_cache(folder: Path, fingerprint: Fingerprint) -> bytes:
    """The cache of this very plan, or nothing."""
    try:
        content = read_bytes(folder / RUNTIME_CACHE_FILE, limit=_CACHE_LIMIT, expected="a cache of kernels")
    except InputError:
        return b""
    prefix = fingerprint.plan_sha256.encode("ascii")
    return content.removeprefix(prefix) if content.startswith(prefix) else b""


def machine_of(module: Any, cuda: Cuda) -> EngineMachine:
    """What decides whether an engine runs here."""
    properties = cuda.properties()
    return EngineMachine(
        version=str(module.__version__),
        cuda=".".join(map(str, properties.driver_version)),
        gpu=properties.name,
        compute_capability=".".join(map(str, properties.compute_capability)),
    )
