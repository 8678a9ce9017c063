"""What run.py does: a database and a service are started, people enrolled, searched and erased, and both ended."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import http.client
import json
import math
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from database import check_packages, database
from interruptions import held

from efq.benchmarks.drawn_faces.batch import drawn_faces
from efq.benchmarks.serving.client import Address, http_request
from efq.benchmarks.serving.loops import closed_loop
from efq.runtime import Artifact, EfqError, InputError, ServerError
from efq.runtime.faces.images import IMAGE_SUFFIXES
from efq.runtime.open_inference.messages import Message

ENDING_SECONDS = 30.0


@contextlib.contextmanager
def service(artifact: Path, gallery: str) -> Iterator[str]:
    """efq-serve of the artifact with that gallery: its address. It ends with the block, once all is answered.

    Raises ServerError where it does not start; it says why itself.
    """
    command = [sys.executable, "-m", "efq.runtime.service.serve_command", str(artifact), "--gallery", gallery]
    environment = {name: value for name, value in os.environ.items() if name != "EFQ_API_KEY"}
    with contextlib.ExitStack() as running:
        with held():
            process = subprocess.Popen(
                [*command, "--port", "0", "--no-access-log"],
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env=environment,
            )
            running.callback(stop, process)
        assert process.stdout is not None
        first = process.stdout.readline().strip()
        if " at http" not in first:
            message = "expected the service to start, found that it ended; above is why"
            raise ServerError(message)
        print(first)
        yield first.rpartition(" at ")[2]


def stop(process: subprocess.Popen[str]) -> None:
    """The service answers what it has accepted, and ends."""
    with held():
        process.terminate()
        try:
            process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # proxies of the environment are for others


def ask(method: str, url: str, values: object = None, *, or_none: bool = False) -> Any:
    """The answer of the service, JSON; None for 404 where `or_none`.

    Raises ServerError for an error, with what the service says of it.
    """
    body = None if values is None else json.dumps(values).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    try:
        with _opener.open(request, timeout=60) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        if or_none and error.code == http.HTTPStatus.NOT_FOUND:
            return None
        said = error.read().decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(said)["error"]["message"]
        message = f"the service refuses ({error.code}): {said}"
        raise ServerError(message) from error
    except (OSError, http.client.HTTPException) as error:
        message = f"expected an answer of the service at {url}, found: {error}; its log is above"
        raise ServerError(message) from error


def people_of(folder: Path | None, most: int) -> dict[str, list[bytes]]:
    """Files of two faces of each person: of a folder with a folder each, or drawn ones, the second a little darker.

    Raises InputError for a folder without such people.
    """
    if folder is not None:
        return people_in(folder, most)
    faces = drawn_faces(most)
    pairs = [(face, (face * 0.9).astype(np.uint8)) for face in faces]
    return {
        f"person {number}": [cv2.imencode(".png", face[..., ::-1])[1].tobytes() for face in pair]
        for number, pair in enumerate(pairs)
    }


def people_in(folder: Path, most: int) -> dict[str, list[bytes]]:
    """As `people_of`, of a folder."""
    found: dict[str, list[bytes]] = {}
    try:
        for person in sorted(path for path in folder.iterdir() if path.is_dir()):
            files = sorted(path for path in person.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)[:2]
            if len(files) == 2:
                found[person.name] = [file.read_bytes() for file in files]
            if len(found) == most:
                break
    except OSError as error:
        message = f"expected a folder with a folder of images each person at {folder}, found: {error.strerror}"
        raise InputError(message) from error
    if not found:
        message = f"expected in {folder} a folder each person, of two images and more, found none; name another folder"
        raise InputError(message)
    return found


def image(content: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(content).decode()}


@contextlib.contextmanager
def enrolled(url: str, people: dict[str, list[bytes]]) -> Iterator[None]:
    """The first face of each, erased with the block. Raises InputError for a gallery that others are in."""
    if ask("GET", f"{url}/v1/people?limit=1")["people"]:
        message = (
            "expected a gallery without people, found some, who could be mixed up with these; name another database, "
            "or a schema of it (?schema=NAME)"
        )
        raise InputError(message)
    try:
        for name, (first, _) in people.items():
            try:
                ask("POST", f"{url}/v1/people", {"person": name, "images": [image(first)]})
            except ServerError as error:
                message = f"{name}: {error}"
                raise ServerError(message) from error
        print(f"{len(people)} people enrolled")
        yield
    finally:
        with held():
            erase(url, people)


def search_all(url: str, people: dict[str, list[bytes]]) -> int:
    """Search each by the second face: how many are found first."""
    right = 0
    for name, (_, second) in people.items():
        found = ask("POST", f"{url}/v1/search", {"image": image(second), "k": 1, "threshold": -1})
        right += [match["person"] for match in found["matches"]] == [name]
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
    """Those who were enrolled here; not all are where that was interrupted."""
    for name in people:
        ask("DELETE", f"{url}/v1/people/{urllib.parse.quote(name, safe='')}", or_none=True)
    print(f"erased; {len(ask('GET', f'{url}/v1/people')['people'])} people left")


def main() -> int:
    """The exit code: 0 where every person was found, that of the error where something failed."""
    parser = argparse.ArgumentParser(prog="run.py", description="A face-matching service, its database and load on it.")
    parser.add_argument("artifact", type=Path)
    parser.add_argument(
        "--faces", type=Path, help="Folder with a folder of aligned faces each person; else drawn ones."
    )
    parser.add_argument("--people", type=_count, default=50)
    parser.add_argument("--postgresql", type=_address, help="Address of a database with pgvector; else one is started.")
    parser.add_argument("--clients", type=_count, nargs="*", default=[1, 8, 32])
    parser.add_argument("--seconds", type=_seconds, default=3.0)
    chosen = parser.parse_args()
    try:
        return run(chosen)
    except EfqError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def run(chosen: argparse.Namespace) -> int:
    """1 where somebody was not found, else 0. Raises EfqError."""
    if not chosen.postgresql:
        check_packages()
    Artifact.open(chosen.artifact)  # before a database is started for nothing
    people = people_of(chosen.faces, chosen.people)
    given = contextlib.nullcontext(chosen.postgresql) if chosen.postgresql else database()
    with given as gallery, service(chosen.artifact, gallery) as url, enrolled(url, people):
        right = search_all(url, people)
        load(url, people, chosen.clients, chosen.seconds)
    return int(right < len(people))


def _count(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) <= 100_000):
        message = f"expected a number of 1 and more, found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(seconds := float(text)) and seconds > 0:
            return seconds
    message = f"expected seconds above 0, found {text!r}"
    raise argparse.ArgumentTypeError(message)


def _address(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        message = f"expected an address that begins with postgresql://, found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return text
