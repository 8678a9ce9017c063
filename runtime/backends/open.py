"""Open an artifact's model on the CPU, in the backend asked for or the faster one."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from efq.runtime.artifact.folder import MODEL_FILE, Artifact
from efq.runtime.artifact.onnx_model import OnnxModel
from efq.runtime.backends import onnxruntime_module, openvino_core
from efq.runtime.backends.calls import embed_with
from efq.runtime.backends.choice import Choice, cache_path, choose, is_installed, read_choice, write_choice
from efq.runtime.backends.model import Model, model_of, thread_count
from efq.runtime.backends.target import AUTOMATIC, OpenOptions, Target
from efq.runtime.errors import DeviceError, IncompatibleArtifactError, UsageError
from efq.runtime.litert import module as litert
from efq.runtime.machine.forks import RenewedLock
from efq.runtime.native.library import TRIED, instruction_sets, library_path

ONNXRUNTIME, OPENVINO, NATIVE, LITERT = onnxruntime_module.NAME, openvino_core.NAME, "native", litert.NAME
Load = Callable[[str], Model]


def _open_onnxruntime(*arguments: Any, **options: Any) -> Model:
    from efq.runtime.backends.onnxruntime import OnnxRuntimeModel  # each of these: the others serve without it

    return OnnxRuntimeModel(*arguments, **options)


def _open_openvino(*arguments: Any, **options: Any) -> Model:
    from efq.runtime.backends.openvino import OpenVinoModel

    return OpenVinoModel(*arguments, **options)


def _open_native(*arguments: Any, **options: Any) -> Model:
    from efq.runtime.backends.native import NativeModel

    return NativeModel(*arguments, **options)


def _open_litert(*arguments: Any, **options: Any) -> Model:
    from efq.runtime.litert.model import LiteRtModel

    return LiteRtModel(*arguments, **options)


BACKENDS: dict[str, Callable[..., Model]] = {
    ONNXRUNTIME: _open_onnxruntime,
    OPENVINO: _open_openvino,
    NATIVE: _open_native,
    LITERT: _open_litert,
}
EXACT = (ONNXRUNTIME, NATIVE)
"""Those that give the integer reference's bytes."""

_logger = logging.getLogger(__name__)
_measuring = RenewedLock()


def open_on_cpu(target: Target, artifact: Artifact, options: OpenOptions) -> Model:
    """The model of `artifact`, loaded in the backend that serves it.

    With "auto" it is the target's first, or another one of its backends that is installed, clearly faster here and
    whose embeddings agree (no cosine below 1 - tolerance), which is measured once and remembered.
    Raises MissingDependencyError when the backend's package is missing, DeviceError for a CPU that the backend cannot
    use, UsageError for an unknown backend, one that the target does not allow, a wrong thread count or tolerance,
    IncompatibleArtifactError for a model that cannot be loaded or is not the manifest's.
    """
    check_options(target, artifact, options)
    threads, own = thread_count(options.threads), target.backends[0]
    content = artifact.model_bytes()
    checked = target.check_model(content, artifact.model_path)
    load = functools.partial(_load, target, artifact, content, checked, threads, options.lean)
    chosen = options.backend
    if chosen == AUTOMATIC:
        chosen = _choose(artifact, load, target.backends, threads, options.tolerance)
    elif chosen != own and chosen not in EXACT and not options.is_inherited:
        _logger.warning(
            "%s was checked with %s and is served by %s: its embeddings differ", artifact.directory, own, chosen
        )
    return load(chosen)


def check_options(target: Target, artifact: Artifact, options: OpenOptions) -> None:
    """Raises UsageError for an unknown backend, one that the target does not allow, or a wrong tolerance."""
    backend = options.backend
    if backend != AUTOMATIC and backend not in BACKENDS:
        message = f"expected the backend {AUTOMATIC}, {' or '.join(BACKENDS)}, found {backend!r}"
        raise UsageError(message)
    if not 0 <= options.tolerance <= 2:
        message = f"expected a tolerance from 0 to 2, a difference of cosines, found {options.tolerance}"
        raise UsageError(message)
    if backend not in (AUTOMATIC, *target.backends):
        message = (
            f"expected the backend {' or '.join(target.backends)} for {artifact.directory}, an artifact for the target "
            f"{target.name}, found {backend!r}, which its graph is not for: leave it out, or export the student for a "
            "target of that backend"
        )
        raise UsageError(message)


def _choose(artifact: Artifact, load: Load, backends: Sequence[str], threads: int, tolerance: float) -> str:
    """The first of the installed `backends`, or one that is faster; EFQ's own kernels where they have been tried."""
    own, installed = backends[0], tuple(name for name in backends if _is_installed(name))
    if own not in installed:
        return NATIVE if NATIVE in installed else own
    installed = tuple(name for name in installed if name != NATIVE or instruction_sets()[0] in TRIED)
    if len(installed) == 1:
        return own
    path = cache_path(artifact.checksums[MODEL_FILE], backends=installed, threads=threads, tolerance=tolerance)
    with _measuring.lock:  # two measurements at once would disturb each other
        choice = read_choice(path, dict.fromkeys(installed))
        if choice is None:
            choice = _measure(artifact, load, installed, tolerance)
            write_choice(path, choice)
    times = "".join(f", {name} {value:.2f} ms" for name, value in choice.milliseconds.items())
    _logger.debug(
        "%s is served by %s (least cosine between %s: %.6f, tolerance %g%s)",
        artifact.directory, choice.backend, " and ".join(installed), choice.least_cosine, tolerance, times,
    )  # fmt: skip
    return choice.backend


def _is_installed(backend: str) -> bool:
    return library_path() is not None if backend == NATIVE else is_installed(backend)


def _measure(artifact: Artifact, load: Load, backends: Sequence[str], tolerance: float) -> Choice:
    """Load the model in the first backend and in those of the others that can run it on this CPU, and compare them."""
    own = backends[0]
    with contextlib.ExitStack() as opened:
        models = {}
        for backend in backends:
            try:
                models[backend] = opened.enter_context(contextlib.closing(load(backend)))
            except (DeviceError, IncompatibleArtifactError) as error:
                if backend == own:
                    raise
                _logger.debug("%s cannot serve %s: %s", backend, artifact.directory, error)
        embed = functools.partial(embed_with, artifact=artifact)
        return choose(models, own=own, contract=artifact.manifest.input, tolerance=tolerance, embed=embed)


def _load(
    target: Target,
    artifact: Artifact,
    content: bytes,
    checked: OnnxModel | None,
    threads: int,
    lean: bool,
    backend: str,
) -> Model:
    # A graph of symmetric integers is TensorRT's, and here only computed as a check.
    of_onnxruntime = {"as_written": target.symmetric_activations, "lean": lean}
    options: dict[str, dict[str, Any]] = {ONNXRUNTIME: of_onnxruntime, NATIVE: {"checked": checked}}
    model = BACKENDS[backend](
        artifact.model_path,
        threads=threads,
        reduced_range=artifact.manifest.reduced_range,
        content=content,
        interface=artifact.manifest.surface,
        **options.get(backend, {}),
    )
    return model_of(artifact, model)
