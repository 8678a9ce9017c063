"""A set of faces in one line, the same for every command that opens one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def describe_set(source: str, labels: NDArray[np.int64]) -> str:
    """How many images of how many identities there are, and how many of one; `labels` (N,) say who is on each."""
    sizes = np.unique(labels, return_counts=True)[1]
    identities = "1 identity" if len(sizes) == 1 else f"{len(sizes):,} identities"
    return (
        f"{len(labels):,} faces of {identities} in {source} "
        f"(images of one: median {np.median(sizes):g}, most {sizes.max():,})"
    )
