"""A plan of integer steps computed in NumPy as LiteRT's kernels compute it: its sums of two maps round otherwise.

XNNPACK adds maps in fixed point, with factors of 21 bits and halves rounded up; every other kernel rounds as the plan
says (src/microparams-init.c and src/qs8-vadd of https://github.com/google/XNNPACK). Measured byte for byte against
LiteRT 2.3 on x86-64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from efq.export.targets.litert.grids import grids_of
from efq.runtime.native.plain import STEPS, Bytes, run_plain
from efq.runtime.native.steps import Grid, Maps, Plan, Sum

_BITS = 20


def litert_embedding(plan: Plan) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Images uint8 (N, rows, columns, 3) to embeddings float32 (N, d) of unit length."""
    grids = grids_of(plan)
    steps = {**STEPS, Sum: lambda step, sources: _sum(grids, step, *sources)}
    return functools.partial(run_plain, plan, steps=steps)


def _sum(grids: Mapping[Maps, Grid], step: Sum, source: Bytes, other: Bytes) -> Bytes:
    """(a * source + b * other + half) >> shift, of integers without their zero points, 2^20 <= max(a, b) <= 2^21."""
    shift = _BITS + 1 - math.frexp(max(step.ratio, step.other_ratio))[1]
    factor, other_factor = (int(np.rint(float(ratio) * 2.0**shift)) for ratio in (step.ratio, step.other_ratio))
    left = source.astype(np.int64) - grids[step.source].zero_point
    right = other.astype(np.int64) - grids[step.other].zero_point
    total = (left * factor + right * other_factor + (1 << (shift - 1))) >> shift
    found: Bytes = np.clip(total + grids[step.target].zero_point, 0, 255).astype(np.uint8)
    return found
