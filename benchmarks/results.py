"""What a benchmark found, as plain records that the JSON report holds one to one."""

from __future__ import annotations

import dataclasses
from typing import Any

from efq.benchmarks.gpu_results import GpuResults
from efq.benchmarks.latency import Latency
from efq.benchmarks.machine import Machine
from efq.benchmarks.parity import AccuracyResults

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkRecord:
    """A compared network. `file_bytes`: size of the deployed model files; `size_ratio`: that of the teacher's."""

    name: str
    description: str
    file_bytes: int
    size_ratio: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LatencySetting:
    """All networks' latency at one number of threads and one batch size, measured in turn in one run."""

    threads: int
    batch: int
    networks: tuple[Latency, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BenchResults:
    """A whole benchmark; `reference` names the float teacher, `faces` says what images were used.

    `gpu` holds what only engines on a GPU have; `latency` is host to host then.
    """

    schema_version: int = SCHEMA_VERSION
    command: str
    created: str
    machine: Machine
    reference: str
    faces: str
    networks: tuple[NetworkRecord, ...]
    latency: tuple[LatencySetting, ...]
    accuracy: AccuracyResults | None
    notes: tuple[str, ...]
    gpu: GpuResults | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)
