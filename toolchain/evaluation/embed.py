"""Embedding a set of faces with any network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data.faces import FaceSet

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

_CHUNK = 64
_TINY = 1e-12  # a length of 0 stays one, and is told by its row


def embed_faces(
    embed: Embed,
    faces: FaceSet,
    *,
    title: str = "embedding",
    flip: bool = False,
    normalize: bool = False,
    progress: ShowProgress = no_progress,
) -> NDArray[np.float32]:
    """Embeddings (N, d) of all faces by `embed`, which maps uint8 (n, H, W, 3) RGB to float32 (n, d) of unit length.

    With `flip` the sums of an image's and its mirror image's, of unit length again. `normalize` divides the others by
    their length too, which rounding may have left a little off 1. `title` names the task to `progress`.
    """
    parts = []
    with progress(title, len(faces), "images") as bar:
        for start in range(0, len(faces), _CHUNK):
            batch = np.ascontiguousarray(faces.images[start : start + _CHUNK])
            embeddings = embed(batch)
            if flip:
                embeddings = embeddings + embed(np.ascontiguousarray(batch[:, :, ::-1]))
            if flip or normalize:
                embeddings = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), _TINY)
            parts.append(embeddings)
            bar.advance(len(batch))
    return np.concatenate(parts).astype(np.float32)
