"""Memory and start-up of a network, each measured in a fresh process that opens nothing else."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence

from efq.benchmarks.peers.registry import find_opener
from efq.benchmarks.peers.spec import PeerSpec
from efq.benchmarks.peers.tool import RunsElsewhere
from efq.runtime.cleanup import running
from efq.runtime.errors import EfqError

REPEATS = 3


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """What a process that serves one network on one thread costs.

    start_up_ms: from opening the network, its runtime not yet imported, to the first embedding; median of processes.
    peak_mib: largest resident memory of the process up to then, Python and NumPy included; the largest of them.
    """

    network: str
    start_up_ms: float
    peak_mib: float


def measure_footprints(specs: Sequence[PeerSpec], repeats: int = REPEATS) -> list[Footprint]:
    """In `repeats` processes each, in turn; one for what takes long to be ready (RunsElsewhere). Raises EfqError."""
    found: dict[str, list[dict[str, float]]] = {spec.name: [] for spec in specs}
    for repeat in range(repeats):
        for spec in specs:
            if repeat == 0 or not isinstance(find_opener(spec.kind), RunsElsewhere):
                found[spec.name].append(_run(spec))
    return [
        Footprint(
            network=name,
            start_up_ms=statistics.median(run["start_up_ms"] for run in runs),
            peak_mib=max(run["peak_mib"] for run in runs),
        )
        for name, runs in found.items()
    ]


def _run(spec: PeerSpec) -> dict[str, float]:
    command = [sys.executable, "-m", "efq.benchmarks.timing.footprint_process", spec.to_json()]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process, running(process):
        output, errors = process.communicate()
    if process.returncode:
        lines = errors.strip().splitlines()
        message = f"{spec.name}: its process ended with {process.returncode}: {lines[-1] if lines else 'no message'}"
        raise EfqError(message)
    values: dict[str, float] = json.loads(output.splitlines()[-1])
    return values
