"""Opening and calling a model of any target: its runtime's exceptions become EFQ's, and what it gives is checked."""

from __future__ import annotations

import contextlib
import logging

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.folder import Artifact
from efq.runtime.backends.choice import random_images
from efq.runtime.backends.model import Model, model_of, runtime_failure
from efq.runtime.backends.target import DEFAULT_TOLERANCE, OpenOptions, Target
from efq.runtime.errors import EfqError, IncompatibleArtifactError

LENGTH_TOLERANCE = 1e-3
"""Of an embedding's squared length: float32 rounds to some 1e-6 of it, float16 to 1e-3."""

ROUNDING = 1e-6
"""Of a value of an embedding: two that differ by no more anywhere are the same."""

DIFFERENT = 8.0
"""Mean difference of two images' values, of 255, from which on they have no embedding in common."""

PROBE_TOLERANCES = 3

_logger = logging.getLogger(__name__)


def open_model(target: Target, artifact: Artifact, options: OpenOptions) -> Model:
    """The artifact's model as its target opens it, found to be the manifest's and to embed the probe as at export.

    Without a probe, in an artifact of before there were any, it is only found to tell two images apart. Raises what
    `Embedder.open` says; for any other exception of the target's, IncompatibleArtifactError or DeviceError.
    """
    try:
        model = model_of(artifact, target.open(target, artifact, options))
    except EfqError:
        raise
    except Exception as error:  # runtimes' exceptions share no other base class
        name = f"the runtime of the target {target.name}"
        raise runtime_failure(error, runtime=name, doing="load", place=artifact.model_path) from error
    with contextlib.ExitStack() as refused:
        refused.callback(model.close)
        if artifact.manifest.probe is None:
            _logger.debug("%s has no probe: what it gives is compared with nothing", artifact.directory)
            images = random_images(artifact.manifest.input)[:2]
            found = np.concatenate([embed_with(model, image[np.newaxis], artifact=artifact) for image in images])
            _check_apart(found, images, artifact=artifact, runtime=model.name, first=0)
        else:
            check_probe(model, target, artifact, options)
        refused.pop_all()
    return model


def check_probe(model: Model, target: Target, artifact: Artifact, options: OpenOptions) -> float | None:
    """The cosine of the model's embedding of the artifact's probe to the expected one, None where it has no probe.

    A runtime that serves the artifact within a tolerance may be off by `PROBE_TOLERANCES` times that: the probe is
    harder than the images the tolerance is measured on. Raises ProbeError for less, and what `embed_with` does.
    """
    probe = artifact.probe()
    if probe is None:
        return None
    least = probe.least_cosine
    if model.name in target.backends[1:]:
        least = min(least, 1 - PROBE_TOLERANCES * max(options.tolerance, DEFAULT_TOLERANCE))
    found = embed_with(model, probe.image[np.newaxis], artifact=artifact)
    cosine = probe.check(found, where=f"{artifact.directory} in {model.name}", least_cosine=least)
    _logger.debug("%s in %s: the probe's cosine is %.6f", artifact.directory, model.name, cosine)
    return cosine


def embed_with(model: Model, images: NDArray[np.uint8], *, artifact: Artifact, first: int = 0) -> NDArray[np.float32]:
    """The model's embeddings of `images`, uint8 (N, H, W, 3): float32 (N, d), finite, of unit length.

    `first` is the number of the first image, for messages. Raises IncompatibleArtifactError for anything else that the
    model gives, the same row for images that differ included, and for an exception of its runtime, DeviceError where
    memory was lacking.
    """
    try:
        found = model.run(images)
    except EfqError:
        raise
    except Exception as error:
        raise runtime_failure(error, runtime=model.name, doing="run", place=artifact.directory) from error
    expected = (len(images), artifact.manifest.embedding_size)
    if not isinstance(found, np.ndarray) or found.dtype != np.float32 or found.shape != expected:
        described = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise _damaged(artifact, model.name, f"float32 {expected}", described)
    _check_lengths(found, artifact=artifact, runtime=model.name, first=first)
    if len(found) > 1:
        _check_apart(found, images, artifact=artifact, runtime=model.name, first=first)
    return found


def _check_lengths(found: NDArray[np.float32], *, artifact: Artifact, runtime: str, first: int) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", found, found)
        fits = np.abs(squares - 1) <= LENGTH_TOLERANCE  # False for NaN, too
    if not fits.all():
        row = int(np.argmin(fits))
        described = f"one of length {np.sqrt(squares[row]):g} for image {first + row}"
        raise _damaged(artifact, runtime, "embeddings of unit length", described)


def _check_apart(
    found: NDArray[np.float32], images: NDArray[np.uint8], *, artifact: Artifact, runtime: str, first: int
) -> None:
    """Of neighbours: a model that gives all images one row gives it to them. Images are compared only where rows are
    alike, as those of one image twice are."""
    alike = np.abs(found[1:] - found[:-1]).max(1) <= ROUNDING
    for row in map(int, np.flatnonzero(alike)):
        if np.abs(np.subtract(images[row], images[row + 1], dtype=np.int16)).mean() >= DIFFERENT:
            described = f"the same one for the images {first + row} and {first + row + 1}, which are not alike"
            raise _damaged(artifact, runtime, "an embedding for each image", described)


def _damaged(artifact: Artifact, runtime: str, expected: str, found: str) -> IncompatibleArtifactError:
    return IncompatibleArtifactError(
        f"expected {expected} from {artifact.directory} in {runtime}, found {found}: the model is damaged; export it "
        "again with efq-export"
    )
