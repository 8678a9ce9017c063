"""The integer coverage of any ONNX file in a runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.export.coverage.report import CoverageReport, coverage_report
from efq.export.qdq.target import COVERAGE_RUNS, QdqTarget
from efq.export.targets import find_target
from efq.runtime import targets as rows
from efq.runtime.errors import UsageError


def measure_coverage(
    model: Path, *, images: NDArray[np.generic], runs: int = COVERAGE_RUNS, backend: str = "onnxruntime"
) -> CoverageReport:
    """Run `model` on the CPU in `backend`, that of a target, and report what ran in integer kernels.

    The facts are those of one session: the graph as the runtime optimized it (all optimizations) and the profile of
    `runs` real runs of `images` on one thread, of which times are medians.

    Args:
        model: an ONNX file with one input, the images.
        images: uint8 (N, H, W, 3), N >= 1, or whatever else the model's input takes (a float network's own layout).
        runs: timed runs, after one warm-up.

    Raises:
        UsageError: no target is checked with such a backend.
        InputError: the images do not fit the model's input.
        IncompatibleArtifactError: the runtime cannot load or run the model.
        MissingDependencyError: the runtime is not installed.
        CoverageError: the profile does not agree with the optimized graph, or holds products that cannot be counted.
    """
    return coverage_report(_target_checked_with(backend).collect_evidence(model, images=images, runs=runs))


def _target_checked_with(backend: str) -> QdqTarget:
    known = rows.targets().values()
    for row in known:
        if row.backends[:1] == (backend,) and isinstance(target := find_target(row.name), QdqTarget):
            return target
    names = dict.fromkeys(row.backends[0] for row in known if row.backends)
    message = f"expected the backend of a target on CPUs, one of {', '.join(names)}; found {backend!r}"
    raise UsageError(message)
