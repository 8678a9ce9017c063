"""Several services beside one with as many threads: `python -m efq.benchmarks.serving.several ARTIFACT -o DIR`.

All of them, and this process, share all cores. A closed loop's clients are shared out among the services, as a balancer
would; in each round every arrangement has every load, in turn.
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.serving.several")

import asyncio
import collections
import contextlib
import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from efq.benchmarks.report.markdown import table
from efq.benchmarks.serving.client import KINDS, requests_of
from efq.benchmarks.serving.figures import Measured
from efq.benchmarks.serving.load import FACES, MOST_CLIENTS
from efq.benchmarks.serving.loops import Load, closed_loop
from efq.benchmarks.serving.processes import ServiceProcess, started
from efq.benchmarks.serving.variants import SERVE, faces_to_send
from efq.benchmarks.timing.machine import busy_cores, describe_machine
from efq.runtime.artifact.folder import Artifact
from efq.runtime.backends.open import BACKENDS, ONNXRUNTIME
from efq.runtime.commands.options import PATH, TEXT, FiniteFloat, parse_counts
from efq.runtime.console import efq_command, log
from efq.runtime.files import atomic_write_text

_HEADINGS = (
    "services",
    "threads each",
    "request",
    "clients",
    "answered/s",
    "p50 ms",
    "p99 ms",
    "CPU ms",
    "errors",
    "MB",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrangement:
    """Services that share out what one would do; `threads` of each."""

    threads: int
    services: Sequence[ServiceProcess]

    @property
    def name(self) -> str:
        return f"{len(self.services)} x {self.threads}"

    def cpu_seconds(self) -> float:
        return sum(service.cpu_seconds() for service in self.services)

    def resident_bytes(self) -> int:
        """Of all; what they share counts for each."""
        return sum(service.resident_bytes() for service in self.services)


@click.command()
@click.argument("directory", type=PATH)
@click.option("--cores", "count", type=click.IntRange(2, 64), default=2, show_default=True, help="To share out.")
@click.option("--clients", default="8,32", show_default=True, help="Clients of the closed loops, of all services.")
@click.option("--kinds", default="infer,jpeg", show_default=True, help=f"Requests: {', '.join(KINDS)}.")
@click.option("--seconds", type=FiniteFloat(0.1, 60), default=2.0, show_default=True, help="Of each load.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option(
    "--backend", type=TEXT, default=ONNXRUNTIME, show_default=True, help=f"Of the artifact: {' or '.join(BACKENDS)}."
)
@click.option("-o", "--output", required=True, type=PATH, help="Folder of several.md and several.json.")
@efq_command
def main(
    directory: Path, count: int, clients: str, kinds: str, seconds: float, rounds: int, backend: str, output: Path
) -> None:
    """Measure one service of the artifact in DIRECTORY with as many threads as cores, and as many services of one."""
    counts = parse_counts(clients, "--clients", most=MOST_CLIENTS)
    model = Artifact.open(directory).manifest.name
    images = faces_to_send(None, FACES)
    requests = {kind: requests_of(kind, images, model=model) for kind in kinds.split(",")}
    facts = {"machine": describe_machine().to_dict(), "busy_cores_before": busy_cores(), "backend": backend}
    measured: list[Measured] = []
    resident: dict[str, int] = {}
    with contextlib.ExitStack() as running:
        arrangements = []
        for services, threads in ((1, count), (count, 1)):
            words = [str(directory), "--threads", str(threads), "--backend", backend]
            found = [running.enter_context(started(SERVE, words, frozenset())) for _ in range(services)]
            arrangements.append(Arrangement(threads=threads, services=found))
        for arrangement in arrangements:
            asyncio.run(_shared_loop(arrangement, next(iter(requests.values())), 4, 0.5))
        for number in range(rounds):
            for kind, load in ((kind, load) for kind in requests for load in counts):
                for arrangement in arrangements if number % 2 == 0 else arrangements[::-1]:
                    before = arrangement.cpu_seconds()
                    came = asyncio.run(_shared_loop(arrangement, requests[kind], load, seconds))
                    computed = arrangement.cpu_seconds() - before
                    measured.append(
                        Measured.of(
                            came, computed, round=number, variant=arrangement.name, kind=kind, loop="closed", load=load
                        )
                    )
                    resident[arrangement.name] = arrangement.resident_bytes()
    text = markdown(measured, resident)
    content = {"facts": facts, "resident": resident, "measured": [dataclasses.asdict(one) for one in measured]}
    atomic_write_text(output / "several.json", json.dumps(content, indent=2) + "\n")
    atomic_write_text(output / "several.md", text)
    log(text)


async def _shared_loop(arrangement: Arrangement, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    """A closed loop whose clients are shared out among the services, as one."""
    count = len(arrangement.services)
    shares = [clients // count + (place < clients % count) for place in range(count)]
    loads = await asyncio.gather(
        *(
            closed_loop(service.address, requests, clients=share, seconds=seconds)
            for service, share in zip(arrangement.services, shares, strict=True)
        )
    )
    return Load(
        seconds=seconds,
        latencies=np.concatenate([load.latencies for load in loads]),
        statuses=sum((load.statuses for load in loads), collections.Counter()),
        answers=sum(load.answers for load in loads),
        late=np.empty(0),
    )


def markdown(measured: Sequence[Measured], resident: dict[str, int]) -> str:
    """A table of the medians of all rounds; MB: resident after the last."""
    groups: dict[tuple[str, float, str], list[Measured]] = collections.defaultdict(list)
    for one in measured:
        groups[one.kind, one.load, one.variant].append(one)
    rows = []
    for (kind, load, name), found in sorted(groups.items()):
        middle = [statistics.median(getattr(one, field) for one in found) for field in ("rate", "p50", "p99", "cpu_ms")]
        services, threads = name.split(" x ")
        figures = (f"{middle[0]:.0f}", f"{middle[1]:.1f}", f"{middle[2]:.1f}", f"{middle[3]:.2f}")
        errors = str(sum(one.errors for one in found))
        rows.append((services, threads, kind, f"{load:g}", *figures, errors, f"{resident[name] / 1e6:.0f}"))
    return table(_HEADINGS, rows)
