"""Latency and accuracy of artifacts, beside their float teacher and what other tools make of it.

`run_bench(BenchConfig(...))` is `efq-bench` without its files; `measure` times anything that has `prepare` and `run`.
Importing this package imports no torch: what a benchmark needs is loaded with the first name that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from efq.benchmarks.timing.latency import Latency, measure
from efq.benchmarks.timing.machine import Machine, describe_machine

if TYPE_CHECKING:
    from efq.benchmarks.bench import Bench, BenchConfig, run_bench

__all__ = ["Bench", "BenchConfig", "Latency", "Machine", "describe_machine", "measure", "run_bench"]


def __getattr__(name: str) -> Any:
    """The names of `efq.benchmarks.bench`, which needs torch."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module("efq.benchmarks.bench"), name)
