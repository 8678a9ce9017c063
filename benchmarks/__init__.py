"""Latency and accuracy of artifacts, beside their float teacher and what other tools make of it."""

from __future__ import annotations

from efq.benchmarks.machine import Machine, describe_machine
from efq.benchmarks.timing.latency import Latency, measure

__all__ = ["Latency", "Machine", "describe_machine", "measure"]
