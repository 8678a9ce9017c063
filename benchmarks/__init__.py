"""Latency and accuracy of artifacts, beside their float teacher and what other tools make of it.

`run_bench(BenchConfig(...))` is `efq-bench` without its files; `measure` times anything that has `prepare` and `run`.
Importing this package imports no torch: what a benchmark needs is loaded with the first name that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from efq.benchmarks.timing.latency import Latency, measure
from efq.benchmarks.timing.machine import Machine, describe_machine
from efq.runtime.lazy_names import lazy_names

if TYPE_CHECKING:
    from efq.benchmarks.bench import Bench, BenchConfig, run_bench

__all__ = ["Bench", "BenchConfig", "Latency", "Machine", "describe_machine", "measure", "run_bench"]

__getattr__, __dir__ = lazy_names(__name__, {"Bench": "bench", "BenchConfig": "bench", "run_bench": "bench"})
