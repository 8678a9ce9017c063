"""Opening and calling a model of any target: its runtime's exceptions become EFQ's, and what it gives is checked."""

from __future__ import annotations

import contextlib
import logging

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.folder import Artifact
from efq.runtime.backends.answers import alike_fault, fault_of
from efq.runtime.backends.choice import random_images
from efq.runtime.backends.model import Model, model_of, runtime_failure
from efq.runtime.backends.target import DEFAULT_TOLERANCE, OpenOptions, Target
from efq.runtime.errors import EfqError, IncompatibleArtifactError

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
            if (fault := alike_fault(found, images, first=0)) is not None:
                raise _damaged(artifact, model.name, *fault)
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
    fault = fault_of(found, images, embedding_size=artifact.manifest.embedding_size, first=first)
    if fault is not None:
        raise _damaged(artifact, model.name, *fault)
    return found


def _damaged(artifact: Artifact, runtime: str, expected: str, found: str) -> IncompatibleArtifactError:
    return IncompatibleArtifactError(
        f"expected {expected} from {artifact.directory} in {runtime}, found {found}: the model is damaged; export it "
        "again with efq-export"
    )
