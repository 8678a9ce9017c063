"""Open an artifact's model on the CPU, in the backend asked for or the faster one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from efq.runtime.artifact.folder import MODEL_FILE, Artifact, read_checksums
from efq.runtime.backends.choice import cache_path, choose, is_installed, read_choice, write_choice
from efq.runtime.backends.model import Model, thread_count
from efq.runtime.backends.onnxruntime import OnnxRuntimeModel
from efq.runtime.backends.openvino import OpenVinoModel
from efq.runtime.errors import DeviceError, UsageError

AUTOMATIC = "auto"
ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
BACKENDS: dict[str, Callable[..., Model]] = {ONNXRUNTIME: OnnxRuntimeModel, OPENVINO: OpenVinoModel}

OWN_BACKEND = {"ort-cpu": ONNXRUNTIME, "openvino": OPENVINO}
"""The runtime whose numbers an artifact for a target was checked with."""

_ONLY_OWN = ("openvino",)
"""Targets whose graphs another runtime would compute partly in float (PRelu behind a convolution)."""

DEFAULT_TOLERANCE = 0.01
"""What the runtimes' different rounding explains, and no more (docs/decisions/0041)."""

REDUCED_RANGE = "reduced_range"
"""The key of a manifest's recipe that says that all weights have 7 bits or fewer."""

_logger = logging.getLogger(__name__)
_measuring = threading.Lock()


def open_cpu_model(
    artifact: Artifact, *, threads: int | None, backend: str = AUTOMATIC, tolerance: float = DEFAULT_TOLERANCE
) -> tuple[str, Model]:
    """The name of the backend and the model of `artifact` loaded in it.

    With "auto" it is the target's own runtime (ONNX Runtime where the target is no CPU), or for ort-cpu another one
    installed that is clearly faster here and whose embeddings agree (no cosine below 1 - `tolerance`), which is
    measured once and remembered.
    Raises MissingDependencyError when the backend's package is missing, DeviceError for a CPU that the backend cannot
    use, UsageError for an unknown backend, one that the target does not allow, a wrong thread count or tolerance,
    IncompatibleArtifactError for a model that cannot be loaded or is not the manifest's.
    """
    if backend != AUTOMATIC and backend not in BACKENDS:
        message = f"expected the backend {AUTOMATIC}, {' or '.join(BACKENDS)}, found {backend!r}"
        raise UsageError(message)
    if not 0 <= tolerance <= 2:
        message = f"expected a tolerance from 0 to 2, a difference of cosines, found {tolerance}"
        raise UsageError(message)
    count = thread_count(threads)
    target = artifact.manifest.target
    own = OWN_BACKEND.get(target, ONNXRUNTIME)
    if target in _ONLY_OWN and backend not in (AUTOMATIC, own):
        message = (
            f"expected the backend {own} for {artifact.directory}, an artifact for the target {target}, found "
            f"{backend!r}, which would compute parts of it in float: export the student for ort-cpu"
        )
        raise UsageError(message)
    chosen = backend
    if backend == AUTOMATIC:
        has_choice = target in OWN_BACKEND and target not in _ONLY_OWN
        chosen = _choose(artifact, own, count, tolerance) if has_choice else own
    if backend not in (AUTOMATIC, own):
        _logger.warning(
            "%s was checked with %s and is served by %s: its embeddings differ", artifact.directory, own, chosen
        )
    return chosen, _load(artifact, chosen, count)


def _load_all(artifact: Artifact, own: str, backends: Iterable[str], threads: int) -> dict[str, Model]:
    """The model in its own backend, and in those of the others that can run it on this CPU."""
    models = {}
    for backend in backends:
        try:
            models[backend] = _load(artifact, backend, threads)
        except DeviceError:
            if backend == own:
                raise
    return models


def _load(artifact: Artifact, backend: str, threads: int) -> Model:
    reduced_range = artifact.manifest.recipe.get(REDUCED_RANGE) is True
    model = BACKENDS[backend](artifact.model_path, threads=threads, reduced_range=reduced_range)
    artifact.check_model_metadata(model.metadata)
    model.check_signature(artifact.manifest.input, artifact.manifest.embedding_size)
    return model


def _choose(artifact: Artifact, own: str, threads: int, tolerance: float) -> str:
    installed = tuple(name for name in BACKENDS if is_installed(name))
    if own not in installed or len(installed) == 1:
        return own
    sha256 = read_checksums(artifact.directory)[MODEL_FILE]
    path = cache_path(sha256, backends=installed, threads=threads, tolerance=tolerance)
    with _measuring:  # two measurements at once would disturb each other
        choice = read_choice(path, dict.fromkeys(installed))
        if choice is None:
            models = _load_all(artifact, own, installed, threads)
            choice = choose(models, own=own, contract=artifact.manifest.input, tolerance=tolerance)
            write_choice(path, choice)
    times = "".join(f", {name} {value:.2f} ms" for name, value in choice.milliseconds.items())
    _logger.debug(
        "%s is served by %s (least cosine between %s: %.6f, tolerance %g%s)",
        artifact.directory, choice.backend, " and ".join(installed), choice.least_cosine, tolerance, times,
    )  # fmt: skip
    return choice.backend
