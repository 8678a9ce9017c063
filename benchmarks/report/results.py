"""What a benchmark found, as plain records that the JSON report holds one to one."""

from __future__ import annotations

import dataclasses
from typing import Any

from efq.benchmarks.accuracy.parity import AccuracyResults
from efq.benchmarks.engines.gpu_results import GpuResults
from efq.benchmarks.timing.footprint import Footprint
from efq.benchmarks.timing.int8_floor import Int8Floor
from efq.benchmarks.timing.latency import LatencySetting
from efq.benchmarks.timing.machine import Machine
from efq.benchmarks.timing.scaling import Scaling

SCHEMA_VERSION = 3


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkRecord:
    """A compared network.

    file_bytes: size of the deployed model files; size_ratio: that of the teacher's. is_artifact: ours; the others are
    what a user could take instead. multiply_adds: those an artifact runs for one image, None for others. student: a
    hash that is the same for all artifacts of one student, None for others.
    """

    name: str
    description: str
    file_bytes: int
    size_ratio: float
    is_artifact: bool
    multiply_adds: int | None
    student: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BenchResults:
    """A whole benchmark, called `title`; `reference` names the float teacher, `faces` says what images were used.

    scaling: of the artifacts and the teacher, where several numbers of threads were timed.
    footprints: of every network, or none where they were not measured; floor: of the core, likewise.
    `gpu` holds what only engines on a GPU have; `latency` is host to host then.
    """

    schema_version: int = SCHEMA_VERSION
    title: str = "Benchmark"
    command: str
    created: str
    machine: Machine
    reference: str
    faces: str
    networks: tuple[NetworkRecord, ...]
    latency: tuple[LatencySetting, ...]
    scaling: tuple[Scaling, ...] = ()
    accuracy: AccuracyResults | None
    footprints: tuple[Footprint, ...]
    floor: Int8Floor | None
    notes: tuple[str, ...]
    gpu: GpuResults | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)
