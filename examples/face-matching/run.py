"""A face-matching service, its database and load on it, on one machine: `python run.py ARTIFACT --faces FACES`."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import cv2
import numpy as np
from database import database

from efq.benchmarks.drawn_faces.batch import drawn_faces
from efq.benchmarks.serving.client import Address, http_request
from efq.benchmarks.serving.loops import closed_loop
from efq.runtime.open_inference.messages import Message

ENDING_SECONDS = 30.0


@contextlib.contextmanager
def service(artifact: Path, gallery: str) -> Iterator[str]:
    """efq-serve of the artifact with that gallery: its address. It ends with the block, once all is answered."""
    command = [sys.executable, "-m", "efq.runtime.service.serve_command", str(artifact), "--gallery", gallery]
    process = subprocess.Popen(
        [*command, "--port", "0", "--no-access-log"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline().strip()
        if " at http" not in first:
            sys.exit("the service did not start")
        print(first)
        yield first.rpartition(" at ")[2]
    finally:
        process.terminate()
        try:
            process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def ask(method: str, url: str, values: object = None) -> Any:
    """The answer of the service, JSON."""
    body = None if values is None else json.dumps(values).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def people_of(folder: Path | None, most: int) -> dict[str, list[bytes]]:
    """Files of two faces of each person: of a folder with a folder each, or drawn ones, the second a little darker."""
    if folder is not None:
        files = {person.name: sorted(person.glob("*.[jp][pn]g"))[:2] for person in sorted(folder.iterdir())}
        found = {name: [one.read_bytes() for one in both] for name, both in files.items() if len(both) == 2}
        return dict(list(found.items())[:most])
    faces = drawn_faces(most)
    pairs = [(face, (face * 0.9).astype(np.uint8)) for face in faces]
    return {
        f"person {number}": [cv2.imencode(".png", face[..., ::-1])[1].tobytes() for face in pair]
        for number, pair in enumerate(pairs)
    }


def image(content: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(content).decode()}


def enroll(url: str, people: dict[str, list[bytes]]) -> None:
    """The first face of each."""
    for name, (first, _) in people.items():
        ask("POST", f"{url}/v1/people", {"person": name, "images": [image(first)]})
    print(f"{len(people)} people enrolled")


def search_all(url: str, people: dict[str, list[bytes]]) -> int:
    """Search each by the second face: how many are found first."""
    right = 0
    for name, (_, second) in people.items():
        found = ask("POST", f"{url}/v1/search", {"image": image(second), "k": 1, "threshold": -1})
        right += found["matches"][0]["person"] == name
    print(f"{right} of {len(people)} people found by another face of theirs")
    return right


def load(url: str, people: dict[str, list[bytes]], clients: Sequence[int], seconds: float) -> None:
    """Searches of so many clients at once."""
    parts = urllib.parse.urlsplit(url)
    bodies = [{"image": image(second), "k": 1, "threshold": -1} for _, second in people.values()]
    headers = {"Content-Type": "application/json"}
    requests = [http_request("/v1/search", Message(body=json.dumps(body).encode(), headers=headers)) for body in bodies]
    address = Address(host=str(parts.hostname), port=int(parts.port or 80))
    for count in clients:
        found = asyncio.run(closed_loop(address, requests, clients=count, seconds=seconds))
        print(
            f"{count:3} clients: {found.rate:.0f} searches a second, p50 {found.milliseconds(0.5):.1f} ms, "
            f"p99 {found.milliseconds(0.99):.1f} ms, {found.errors} errors"
        )


def erase(url: str, people: dict[str, list[bytes]]) -> None:
    for name in people:
        ask("DELETE", f"{url}/v1/people/{urllib.parse.quote(name, safe='')}")
    print(f"erased; {len(ask('GET', f'{url}/v1/people')['people'])} people left")


def main() -> int:
    """0 where every person was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument(
        "--faces", type=Path, help="Folder with a folder of aligned faces each person; else drawn ones."
    )
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--postgresql", help="Address of a database with pgvector; else one is started.")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=3.0)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    people = people_of(chosen.faces, chosen.people)
    given = contextlib.nullcontext(chosen.postgresql) if chosen.postgresql else database()
    with given as gallery, service(chosen.artifact, gallery) as url:
        enroll(url, people)
        right = search_all(url, people)
        load(url, people, chosen.clients, chosen.seconds)
        erase(url, people)
    return int(right < len(people))


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        print("interrupted; all that was started is ended", file=sys.stderr)
        raise SystemExit(130) from None
