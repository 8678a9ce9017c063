"""Load on the service: `python -m efq.benchmarks.serving.load ARTIFACT --teacher TEACHER --faces FACES -o DIR`.

The services run on one core and this process on the others, so that neither takes the other's time: with two cores all
figures are of a service on one. In each round every variant has every load, in turn.
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.serving.load")

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.serving.client import KINDS, requests_of
from efq.benchmarks.serving.figures import Figures, Measured
from efq.benchmarks.serving.loops import Load, closed_loop, open_loop
from efq.benchmarks.serving.processes import cores, measured_alone, pinned
from efq.benchmarks.serving.variants import Variant, faces_to_send, open_variants
from efq.benchmarks.timing.machine import busy_cores, describe_machine
from efq.runtime.backends.open import BACKENDS, ONNXRUNTIME
from efq.runtime.commands.options import PATH, TEXT, FiniteFloat, parse_counts
from efq.runtime.console import efq_command, log
from efq.runtime.files import atomic_write_text, temporary_folder

FACES = 64
BARE = "efq.benchmarks.serving.bare"
BARE_BATCHES = (1, 8)
KIND_CLIENTS = 8
"""Clients of the requests that are images, which are measured at one load."""

MOST_CLIENTS = 512


@click.command()
@click.argument("directory", type=PATH)
@click.option("--teacher", type=PATH, help="Its float network, served by the same service, for comparison.")
@click.option("--faces", type=PATH, help="Folder of faces to send.  [default: drawn ones]")
@click.option("--clients", default="1,2,4,8,16,32,64", show_default=True, help="Clients of the closed loops.")
@click.option("--rates", default="", help="Requests a second of the open loops.  [default: half and 0.9 of the most]")
@click.option("--seconds", type=FiniteFloat(0.1, 60), default=2.0, show_default=True, help="Of each load.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Of each service.")
@click.option(
    "--backend", type=TEXT, default=ONNXRUNTIME, show_default=True, help=f"Of the artifact: {' or '.join(BACKENDS)}."
)
@click.option("-o", "--output", required=True, type=PATH, help="Folder of load.md and load.json.")
@efq_command
def main(
    directory: Path,
    teacher: Path | None,
    faces: Path | None,
    clients: str,
    rates: str,
    seconds: float,
    rounds: int,
    threads: int,
    backend: str,
    output: Path,
) -> None:
    """Measure the service of the artifact in DIRECTORY under load, beside the embedder alone."""
    counts = parse_counts(clients, "--clients", most=MOST_CLIENTS)
    asked = parse_counts(rates, "--rates", most=100_000) if rates else ()
    images = faces_to_send(faces, FACES)
    served, measuring = cores()
    facts = {
        "machine": describe_machine().to_dict(),
        "service_cores": sorted(served),
        "generator_cores": sorted(measuring),
        "busy_cores_before": busy_cores(),
        "threads": threads,
        "backend": backend,
        "seconds": seconds,
        "rounds": rounds,
    }
    with temporary_folder("load") as folder, pinned(measuring):
        np.save(folder / "faces.npy", images)
        with open_variants(directory, teacher, folder, served, backend=backend, threads=threads) as variants:
            runs = _Rounds(variants, images, counts, asked, seconds)
            bare: dict[int, list[dict[str, float]]] = {batch: [] for batch in BARE_BATCHES}
            for number in range(rounds):
                for batch in BARE_BATCHES:
                    arguments = [str(directory), str(folder / "faces.npy"), str(seconds), str(batch), backend]
                    bare[batch].append(measured_alone(BARE, arguments, served))
                runs.round(number)
            figures = Figures(
                measured=runs.measured,
                bare={batch: [one["rate"] for one in found] for batch, found in bare.items()},
                bare_cpu_ms={batch: [one["cpu_ms"] for one in found] for batch, found in bare.items()},
                resident={
                    one.name: (before, one.service.resident_bytes())
                    for one, before in zip(variants, runs.resident, strict=True)
                },
                facts=facts,
            )
    atomic_write_text(output / "load.json", json.dumps(figures.to_dict(), indent=2) + "\n")
    atomic_write_text(output / "load.md", figures.markdown())
    log(figures.markdown())


class _Rounds:
    def __init__(
        self,
        variants: Sequence[Variant],
        images: NDArray[np.uint8],
        clients: Sequence[int],
        rates: Sequence[int],
        seconds: float,
    ) -> None:
        self.measured: list[Measured] = []
        self._variants, self._clients, self._rates, self._seconds = variants, clients, rates, seconds
        self._requests = {kind: requests_of(kind, images, model=variants[0].model) for kind in KINDS}
        for variant in variants:  # loads what is loaded by a first request
            asyncio.run(closed_loop(variant.service.address, self._requests["infer"], clients=4, seconds=0.5))
        self.resident = [variant.service.resident_bytes() for variant in variants]

    def round(self, number: int) -> None:
        """Every load once, of each variant in turn."""
        for clients in self._clients:
            for variant in self._turn(number):
                self._closed(number, variant, "infer", clients)
        for kind in KINDS[1:]:
            self._closed(number, self._variants[0], kind, KIND_CLIENTS)
        for variant in self._turn(number):
            for rate in self._rates or self._shares(variant, number):
                self._open(number, variant, rate)

    def _turn(self, number: int) -> Iterator[Variant]:
        count = len(self._variants)
        return (self._variants[(number + place) % count] for place in range(count))

    def _shares(self, variant: Variant, number: int) -> list[int]:
        """Half of what the variant answered at most, and 0.9 of it, as the first round found."""
        first = [one.rate for one in self.measured if one.variant == variant.name and one.round == 0]
        most = max(first[: len(self._clients)])
        return [max(1, round(share * most)) for share in (0.5, 0.9)]

    def _closed(self, number: int, variant: Variant, kind: str, clients: int) -> None:
        address, requests = variant.service.address, self._requests[kind]
        before = variant.service.cpu_seconds()
        found = asyncio.run(closed_loop(address, requests, clients=clients, seconds=self._seconds))
        self._keep(found, before, number, variant, kind, "closed", clients)

    def _open(self, number: int, variant: Variant, rate: int) -> None:
        before = variant.service.cpu_seconds()
        requests = self._requests["infer"]
        loop = open_loop(variant.service.address, requests, rate=rate, seconds=self._seconds, seed=number)
        self._keep(asyncio.run(loop), before, number, variant, "infer", "open", rate)

    def _keep(
        self, found: Load, before: float, number: int, variant: Variant, kind: str, loop: str, load: float
    ) -> None:
        computed = variant.service.cpu_seconds() - before
        one = Measured.of(found, computed, round=number, variant=variant.name, kind=kind, loop=loop, load=load)
        self.measured.append(one)
        log(f"{variant.name}, {kind}, {loop} {load:g}: {one.rate:.0f}/s, p50 {one.p50:.1f} ms, p99 {one.p99:.1f} ms")
