"""Latency and accuracy of artifacts, beside their float teacher and what other tools make of it."""

from __future__ import annotations

from efq.benchmarks.timing.latency import Latency, measure
from efq.benchmarks.timing.machine import Machine, describe_machine

__all__ = ["Latency", "Machine", "describe_machine", "measure"]
