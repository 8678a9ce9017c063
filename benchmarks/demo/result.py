"""What the demo found, for the page, the table and JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from efq.benchmarks.bench import Bench
from efq.benchmarks.demo.matches import GallerySearch
from efq.benchmarks.demo.measurement import Measurement
from efq.benchmarks.demo.sources import Source
from efq.benchmarks.timing.latency import Latency
from efq.runtime.artifact.manifest import Manifest
from efq.toolchain.evaluation.figures.rates import far_name

NAMES = {"teacher": "float teacher", "student": "integer student in torch", "artifact": "artifact in ONNX Runtime"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A finished step of the chain and how long it took, in seconds."""

    name: str
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DemoResult:
    """The whole chain's outcome."""

    command: str
    source: Source
    steps: tuple[Step, ...]
    manifest: Manifest
    bench: Bench
    measurement: Measurement
    search: GallerySearch

    @property
    def seconds(self) -> float:
        """How long the whole chain took."""
        return sum(step.seconds for step in self.steps)

    @property
    def artifact_latencies(self) -> tuple[Latency, ...]:
        """The artifact's latency at each setting, batch 1 on one thread first."""
        name = self.bench.names[0]
        return tuple(
            next(row for row in setting.networks if row.network == name) for setting in self.bench.results.latency
        )

    @property
    def size_ratio(self) -> float:
        """The artifact's file size as a share of the float teacher's."""
        name = self.bench.names[0]
        return next(record.size_ratio for record in self.bench.results.networks if record.name == name)

    @property
    def multiply_add_fraction(self) -> float:
        """Multiply-adds in integer kernels, 0 to 1."""
        count = self.manifest.coverage["multiply_adds"]
        return float(count["integer"] / count["total"])

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values, for JSON."""
        return {
            "command": self.command,
            "drawn_faces": self.source.drawn,
            "images": self.measurement.networks[0].all_pairs.images,
            "identities": self.measurement.networks[0].all_pairs.identities,
            "networks": {row.kind: dataclasses.asdict(row) for row in self.measurement.networks},
            "multiply_adds_in_integer_kernels": self.multiply_add_fraction,
            "speedup_batch_1_one_thread": self.artifact_latencies[0].speedup,
            "size_ratio": self.size_ratio,
            "rank_one": self.search.rank_one,
            "bench": self.bench.results.to_dict(),
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "seconds": self.seconds,
        }


def summary_table(result: DemoResult) -> list[tuple[str, ...]]:
    """The final table: a header, then one row a network."""
    fars = [row.far for row in result.measurement.networks[0].all_pairs.rows if row.enough_impostors]
    rows: list[tuple[str, ...]] = [
        (
            "network",
            "10-fold, %",
            *[f"TAR@{far_name(far)}, %" for far in fars],
            "cosine to teacher",
            "ms, batch 1",
            "speed-up",
            "size",
        )
    ]
    latency = {row.network: row for row in result.bench.results.latency[0].networks}
    teacher, artifact = latency[result.bench.results.reference], latency[result.bench.names[0]]
    speed = {
        "teacher": (f"{teacher.p50_ms:.2f}", "1.00 x", "100 %"),
        "student": ("-", "-", "-"),
        "artifact": (f"{artifact.p50_ms:.2f}", f"{artifact.speedup:.2f} x", f"{100 * result.size_ratio:.0f} %"),
    }
    for row in result.measurement.networks:
        tars = [f"{100 * point.tar.value:.2f}" for point in row.all_pairs.rows if point.far in fars]
        accuracy = f"{100 * row.folds.accuracy.value:.2f}"
        rows.append((NAMES[row.kind], accuracy, *tars, f"{row.cosine_mean:.4f}", *speed[row.kind]))
    return rows
