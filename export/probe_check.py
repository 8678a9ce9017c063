"""An artifact's probe compared on this machine, and with what a user's own pipeline makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.folder import Artifact
from efq.runtime.backends.target import AUTOMATIC
from efq.runtime.embedder import Embedder
from efq.runtime.errors import DeviceError, EngineError, InputError, MissingDependencyError, ProbeError, UsageError
from efq.runtime.probe.probe import PROBE_IMAGE_FILE, Probe
from efq.runtime.reading import read_text
from efq.runtime.targets import find_target

_Images = NDArray[np.uint8]

FAULTS: Mapping[str, Callable[[_Images], NDArray[Any]]] = MappingProxyType(
    {
        "red and blue are exchanged": lambda image: image[..., ::-1],
        "the image is mirrored": lambda image: image[:, ::-1],
        "the image is upside down": lambda image: image[::-1],
        "rows and columns are exchanged": lambda image: (
            image.transpose(1, 0, 2) if image.shape[0] == image.shape[1] else image
        ),
        "the colors are gray": lambda image: np.repeat(image @ np.array((0.299, 0.587, 0.114)), 3).reshape(image.shape),
        "pixels of 0 to 255 are taken for half of their range": lambda image: image / 2 + 127.5,
        "channels that come last are read as if they came first": lambda image: image.reshape(
            3, *image.shape[:2]
        ).transpose(1, 2, 0),
    }
)
"""What is fed to a network then, as pixels of 0 to 255, by what is wrong."""

_SEPARATORS = re.compile(r"[\s,;\[\]]+")
_LARGEST_TEXT = 2**24
_LIKELY = 0.97


def compare_here(artifact: Artifact) -> dict[str, Any] | str:
    """The cosine of the probe on this machine, in the target's own runtime, to what it was at export; or why there is
    none. Raises ProbeError for a cosine that is too low."""
    probe = artifact.probe()
    if probe is None:
        return "none, as in every artifact of before there were any"
    try:
        with _open(artifact) as embedder:
            return {"cosine": embedder.check_probe(), "least": probe.least_cosine, "backend": embedder.backend}
    except (DeviceError, EngineError, MissingDependencyError) as error:
        return f"not compared, as the artifact cannot be served here: {error}"


def compare_embedding(artifact: Artifact, path: Path) -> dict[str, Any]:
    """The cosine to the probe's embedding of the one in a text file: d numbers, with commas, spaces or lines between.

    Raises InputError for a file that holds none, UsageError for an artifact without a probe, ProbeError for another
    embedding, with the fault that gives it where one does.
    """
    probe = artifact.probe()
    if probe is None:
        message = f"expected an artifact with a probe, found {artifact.directory}, which has none: export it again"
        raise UsageError(message)
    embedding = _read_embedding(path)
    try:
        cosine = probe.check(embedding, where=str(path))
    except ProbeError as error:
        message = f"{error}{_likely_fault(artifact, probe, embedding)}"
        raise ProbeError(message) from error
    return {"cosine": cosine, "least": probe.least_cosine, "embedding": str(path)}


def _open(artifact: Artifact) -> Embedder:
    target = find_target(artifact.manifest.target)
    own = target.backends[0] if target.devices[0] == "cpu" else AUTOMATIC
    return Embedder.open(artifact.directory, threads=1, backend=own)


def _read_embedding(path: Path) -> NDArray[np.float64]:
    text = read_text(path, expected="an embedding", limit=_LARGEST_TEXT, error_class=InputError)
    try:
        return np.array([float(part) for part in _SEPARATORS.split(text) if part])
    except ValueError as error:
        message = f"expected an embedding in {path}, numbers with commas, spaces or lines between, found {error}"
        raise InputError(message) from error


def _likely_fault(artifact: Artifact, probe: Probe, embedding: NDArray[np.float64]) -> str:
    """A sentence on the fault whose embedding it is; none where it is that of none, or nothing can be computed here."""
    direction = embedding / np.linalg.norm(embedding)
    try:
        with _open(artifact) as embedder:
            images = {name: np.round(change(probe.image)).clip(0, 255) for name, change in FAULTS.items()}
            found = {
                name: float(embedder.embed(image.astype(np.uint8)[np.newaxis])[0] @ direction)
                for name, image in images.items()
            }
    except (DeviceError, EngineError, MissingDependencyError):
        return ""
    likely = max(found, key=lambda name: found[name])
    if found[likely] < _LIKELY:
        return ""
    return f". It is the embedding of {PROBE_IMAGE_FILE} where {likely} (cosine {found[likely]:.4f})"
