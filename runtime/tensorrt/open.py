"""Open an artifact's engine on a GPU: check it, or build it again from the artifact's model."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from efq.runtime.artifact.folder import ENGINE_FOLDER, Artifact
from efq.runtime.cuda.seam import Cuda, open_cuda
from efq.runtime.errors import DeviceError, EngineError, UsageError
from efq.runtime.files import atomic_write_bytes
from efq.runtime.tensorrt.engine_cache import read_engine, read_fingerprint, rebuild_engine
from efq.runtime.tensorrt.fingerprint import Fingerprint, Machine
from efq.runtime.tensorrt.module import import_tensorrt
from efq.runtime.tensorrt.run.model import TensorRTModel

RUNTIME_CACHE_FILE = "runtime.cache"


def open_engine(artifact: Artifact, device: str, *, rebuild: bool) -> TensorRTModel:
    """The engine of `artifact` on the GPU `device` (`cuda:N`).

    With `rebuild` an engine that is missing or was built for something else is built again and kept in the artifact.
    Raises MissingDependencyError without TensorRT, DeviceError without a GPU or driver, EngineError for an engine that
    does not fit, and what building raises.
    """
    target = artifact.manifest.target
    module = import_tensorrt(target)
    cuda = open_cuda(device)
    machine = machine_of(module, cuda)
    folder, model = artifact.directory / ENGINE_FOLDER, artifact.model_path
    try:
        plan, fingerprint = read_engine(folder, model, machine)
    except EngineError:
        if not rebuild:
            raise
        allow_float = _has_float_products(artifact)
        plan, fingerprint = rebuild_engine(folder, model, target, machine, device=device, allow_float=allow_float)
    opened = TensorRTModel(
        plan,
        module=module,
        cuda=cuda,
        allow_host_code=fingerprint.options.version_compatible,
        runtime_cache=_read_runtime_cache(folder, fingerprint),
    )
    opened.check_signature(artifact.manifest.input, artifact.manifest.embedding_size)
    return opened


def save_runtime_cache(artifact: Artifact, model: TensorRTModel) -> None:
    """Keep what TensorRT-RTX compiled for this GPU, so that the next process starts without compiling.

    The cache is a convenience: where the artifact cannot be written or has lost its fingerprint, the model is closed
    or the GPU fails, nothing is kept.
    """
    folder = artifact.directory / ENGINE_FOLDER
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
        content = (folder / RUNTIME_CACHE_FILE).read_bytes()
    except OSError:
        return b""
    prefix = fingerprint.plan_sha256.encode("ascii")
    return content.removeprefix(prefix) if content.startswith(prefix) else b""


def machine_of(module: Any, cuda: Cuda) -> Machine:
    """What decides whether an engine runs here."""
    properties = cuda.properties()
    return Machine(
        version=str(module.__version__),
        cuda=".".join(map(str, properties.driver_version)),
        gpu=properties.name,
        compute_capability=".".join(map(str, properties.compute_capability)),
    )
