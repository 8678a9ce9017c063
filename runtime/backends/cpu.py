"""Open an artifact's model on the CPU, in the backend asked for or the faster one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from efq.runtime.artifact import MODEL_FILE, Artifact, read_checksums
from efq.runtime.backends.choice import cache_path, choose, is_installed, read_choice, write_choice
from efq.runtime.backends.model import Model, thread_count
from efq.runtime.backends.onnxruntime import OnnxRuntimeModel
from efq.runtime.backends.openvino import OpenVinoModel
from efq.runtime.errors import UsageError

AUTOMATIC = "auto"
ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
BACKENDS: dict[str, Callable[..., Model]] = {ONNXRUNTIME: OnnxRuntimeModel, OPENVINO: OpenVinoModel}

OWN_BACKEND = {"ort-cpu": ONNXRUNTIME, "openvino": OPENVINO}
"""The runtime whose numbers an artifact for a target was checked with."""

DEFAULT_TOLERANCE = 1e-4

_logger = logging.getLogger(__name__)
_measuring = threading.Lock()


def open_cpu_model(
    artifact: Artifact, *, threads: int | None, backend: str = AUTOMATIC, tolerance: float = DEFAULT_TOLERANCE
) -> tuple[str, Model]:
    """The name of the backend and the model of `artifact`, whose target is one of `OWN_BACKEND`, loaded in it.

    With "auto" it is the target's own runtime, or another one installed that gives the same embeddings (no cosine
    below 1 - `tolerance`) and is faster here, which is measured once and remembered.
    Raises MissingDependencyError when the backend's package is missing, UsageError for an unknown backend, thread count
    or tolerance, IncompatibleArtifactError for a model that cannot be loaded or is not the manifest's.
    """
    if backend != AUTOMATIC and backend not in BACKENDS:
        message = f"expected the backend {AUTOMATIC}, {' or '.join(BACKENDS)}, found {backend!r}"
        raise UsageError(message)
    if not 0 <= tolerance <= 2:
        message = f"expected a tolerance from 0 to 2, a difference of cosines, found {tolerance}"
        raise UsageError(message)
    count = thread_count(threads)
    own = OWN_BACKEND[artifact.manifest.target]
    chosen = _choose(artifact, own, count, tolerance) if backend == AUTOMATIC else backend
    if backend not in (AUTOMATIC, own):
        _logger.warning(
            "%s was checked with %s and is served by %s: its embeddings differ", artifact.directory, own, chosen
        )
    return chosen, _load(artifact, chosen, count)


def _load(artifact: Artifact, backend: str, threads: int) -> Model:
    model = BACKENDS[backend](artifact.model_path, threads=threads)
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
            models = {name: _load(artifact, name, threads) for name in installed}
            choice = choose(models, own=own, contract=artifact.manifest.input, tolerance=tolerance)
            write_choice(path, choice)
    times = "".join(f", {name} {value:.2f} ms" for name, value in choice.milliseconds.items())
    _logger.info(
        "%s is served by %s (least cosine between %s: %.6f, tolerance %g%s)",
        artifact.directory, choice.backend, " and ".join(installed), choice.least_cosine, tolerance, times,
    )  # fmt: skip
    return choice.backend
