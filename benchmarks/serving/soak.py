"""Memory of the service over many requests: `python -m efq.benchmarks.serving.soak ARTIFACT --requests 100000`.

Prints the resident memory at ten moments, and the drift: the last of them beside the one after a tenth, by when every
kind of request and batch size has been served. Requests of all kinds are sent, refused ones too.
"""

from __future__ import annotations

if __name__ == "__main__":  # as an installed command: signals first, then the imports below
    from efq.runtime.commands.entry import run

    run("efq.benchmarks.serving.soak")

import asyncio
import collections
import json
import time
from pathlib import Path

import click

from efq.benchmarks.serving.client import KINDS, Address, requests_of
from efq.benchmarks.serving.loops import closed_count
from efq.benchmarks.serving.processes import cores, pinned, started
from efq.benchmarks.serving.variants import SERVE, faces_to_send
from efq.benchmarks.timing.machine import describe_machine
from efq.runtime.artifact.folder import Artifact
from efq.runtime.commands.options import PATH, FiniteFloat
from efq.runtime.console import efq_command, log
from efq.runtime.files import atomic_write_text

MOMENTS = 10
CLIENTS = 8
_REFUSED = (
    b"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 4\r\n\r\nnone"
)


@click.command()
@click.argument("directory", type=PATH)
@click.option("--faces", type=PATH, help="Folder of faces to send.  [default: drawn ones]")
@click.option("--requests", type=click.IntRange(100, 10_000_000), default=100_000, show_default=True)
@click.option("--pause", type=FiniteFloat(0, 3600), default=0.0, show_default=True, help="Seconds after each tenth.")
@click.option("-o", "--output", required=True, type=PATH, help="File of JSON.")
@efq_command
def main(directory: Path, faces: Path | None, requests: int, pause: float, output: Path) -> None:
    """Send many requests to a service of the artifact in DIRECTORY, and look at its memory."""
    model = Artifact.open(directory).manifest.name
    images = faces_to_send(faces, 64)
    sent = [
        *(request for kind in KINDS for request in requests_of(kind, images[:16], model=model)),
        *requests_of("infer", images, model=model),
        *requests_of("infer", images[:8], model=model, images=4),
        _REFUSED,
    ]
    served, measuring = cores()
    statuses: collections.Counter[int] = collections.Counter()
    with pinned(measuring), started(SERVE, [str(directory), "--threads", "1"], served) as service:
        start = time.monotonic()
        resident = []
        for _ in range(MOMENTS):
            found = asyncio.run(_part(service.address, sent, requests // MOMENTS))
            statuses.update(found)
            resident.append(service.resident_bytes())
            log(f"{statuses.total():,} requests in {time.monotonic() - start:.0f} s: {resident[-1] / 1e6:.1f} MB")
            time.sleep(pause)
        code = service.stop()
    drift = resident[-1] / resident[0] - 1
    values = {
        "requests": statuses.total(),
        "statuses": dict(statuses),
        "resident_bytes": resident,
        "drift": drift,
        "exit_code": code,
        "machine": describe_machine().to_dict(),
    }
    atomic_write_text(output, json.dumps(values, indent=2) + "\n")
    log(f"drift {drift:+.2%}, answers {dict(statuses)}, exit code {code}")


async def _part(address: Address, sent: list[bytes], count: int) -> collections.Counter[int]:
    return await closed_count(address, sent, clients=CLIENTS, count=count)
