"""Images for timing where no faces are given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.drawn_faces.identity import random_identity
from efq.benchmarks.drawn_faces.renderer import draw_face
from efq.benchmarks.drawn_faces.view import random_view

DRAWN_FACES = 64


def drawn_faces(count: int = DRAWN_FACES, *, seed: int = 0) -> NDArray[np.uint8]:
    """Faces of `count` people drawn by the demo's renderer: uint8 (count, 112, 112, 3) RGB, the same for a seed.

    Good enough for timing, which depends on the images through kernels that branch on their input; useless for
    accuracy.
    """
    generator = np.random.default_rng(seed)
    return np.stack([draw_face(random_identity(generator), random_view(generator)) for _ in range(count)])
