"""Fuzz a running service: mutated requests, images and bytes, thousands of them; none may be answered by 500.

    python tests/scripts/fuzz_service.py --count 10000

Starts efq-serve of a tiny artifact with a gallery, sends requests that were sound before something of them was changed
(keys, values, text, base64, images, headers, addresses, the bytes of HTTP), and watches the answers, the log and the
memory. Exits with 1 where an answer of 400 and more is no envelope, one is 500, the log tells of a failure or holds a
name, or the memory of the second half grows by more than 5 %.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import random
import socket
import sys
import tempfile
import time
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from artifacts import make_artifact
from services import Service, face_png, serving

NAME = "Zoe Secretson"
SIDES = (112, 64)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.5, 1e308, -1e308, 5e-324, "", "x", "\x00", "\ud800"),
    *("a" * 5_000, [], {}, [[]], [None], {"a": {}}, "YQ==", "////", "=", "\u202e", "NaN", "../..", NAME),
)
KEYS = (
    "images",
    "image",
    "person",
    "faces",
    "data",
    "landmarks",
    "k",
    "fmr",
    "threshold",
    "input",
    "take",
    "crops",
    "x",
)
PATHS = ("/v1/embeddings", "/v1/verify", "/v1/people", "/v1/search")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW")


class Fuzzer:
    """Requests of one seed against one service, and what was wrong with the answers."""

    def __init__(self, service: Service, seed: int) -> None:
        self.service = service
        self.random = random.Random(seed)
        self.statuses: Counter[int] = Counter()
        self.problems: list[str] = []
        self._images = [face_png(number, side=side) for number in range(4) for side in SIDES] + _other_images()

    def step(self) -> None:
        """One request."""
        self.random.choice((self._json, self._json, self._json, self._image, self._address, self._raw))()

    def _json(self) -> None:
        path = self.random.choice(PATHS)
        value = self._sound(path)
        is_sound = self.random.random() < 0.3
        for _ in range(0 if is_sound else self.random.randint(0, 3)):
            value = self._changed(value)
        text = json.dumps(value)
        body = text.encode()
        if not is_sound and self.random.random() < 0.3:
            body = self._bytes(body)
        headers = {
            "Content-Type": self.random.choice(("application/json",) * 8 + ("text/plain", "application/json;charset=x"))
        }
        self._ask("POST", path, body, headers)

    def _sound(self, path: str) -> dict[str, Any]:
        first, second = self._file(), self._file()
        if path == "/v1/embeddings":
            return {"images": [first, second], "crops": True}
        if path == "/v1/verify":
            return self.random.choice(
                ({"images": [first, second], "threshold": 0.2}, {"image": first, "person": NAME, "threshold": 0.2})
            )
        if path == "/v1/people":
            return {"person": f"{NAME} {self.random.randint(0, 20)}", "images": [first]}
        return {"image": first, "k": 3, "threshold": -1}

    def _file(self) -> dict[str, Any]:
        data = self.random.choice(self._images)
        if self.random.random() < 0.4:
            data = self._bytes(data)
        found: dict[str, Any] = {"data": base64.b64encode(data).decode()}
        if self.random.random() < 0.2:
            found["landmarks"] = [[self.random.uniform(-50, 200), self.random.uniform(0, 112)] for _ in range(5)]
        return found

    def _changed(self, value: Any) -> Any:
        """A value with one thing in it that is another."""
        if isinstance(value, dict) and value and self.random.random() < 0.8:
            key = self.random.choice(list(value))
            what = self.random.random()
            if what < 0.15:
                return {name: one for name, one in value.items() if name != key}
            if what < 0.3:
                return value | {self.random.choice(KEYS): self.random.choice(VALUES)}
            return value | {key: self._changed(value[key])}
        if isinstance(value, list) and value and self.random.random() < 0.8:
            place = self.random.randrange(len(value))
            return [*value[:place], self._changed(value[place]), *value[place + self.random.randint(0, 1) :]]
        if isinstance(value, str) and value and self.random.random() < 0.5:
            place = self.random.randrange(len(value))
            return value[:place] + self.random.choice(("\n", "=", "\x00", "Ω", "")) + value[place + 1 :]
        return self.random.choice(VALUES)

    def _bytes(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.random.choice((1, 1, 2, 10))):
            place = self.random.randrange(len(changed) + 1)
            what = self.random.random()
            if what < 0.5 and place < len(changed):
                changed[place] = self.random.randrange(256)
            elif what < 0.7:
                del changed[place : place + self.random.choice((1, 4, 1_000))]
            elif what < 0.9:
                changed[place:place] = self.random.randbytes(self.random.choice((1, 4, 100)))
            else:
                del changed[place:]
        return bytes(changed) or b"x"

    def _image(self) -> None:
        kind = self.random.choice(("image/png", "image/jpeg", "image/webp", "image/x", "image/"))
        self._ask("POST", "/v1/embeddings", self._bytes(self.random.choice(self._images)), {"Content-Type": kind})

    def _address(self) -> None:
        """Anything as method, path, query and headers."""
        name = self.random.choice(
            (NAME, "", "..", "a/b", "%", "%00", "%ff", "é", "\u202e", "a" * 3_000, "{person}", "*")
        )
        path = self.random.choice(
            ("/v1/people/", "/v1/people", "/v2/", "/v2/models/", "/", "//", "/metrics/", "/v1/model")
        )
        quoted = urllib.parse.quote(name, safe="/%.") if self.random.random() < 0.8 else name.encode().decode("latin-1")
        limit, after = self.random.choice(VALUES), self.random.choice(VALUES)
        query = self.random.choice(
            ("", f"?limit={_plain(limit)}", f"?after={_plain(after)}", f"?face={_plain(after)}", "?&&=")
        )
        headers = self.random.choice(
            ({}, {"Host": "x"}, {"Origin": "["}, {"X-Request-ID": "a" * 500}, {"Accept": "\xff"})
        )
        self._ask(self.random.choice(METHODS), f"{path}{quoted}{query}", b"", headers)

    def _raw(self) -> None:
        """A request whose bytes are changed, to its headers."""
        body = json.dumps(self._sound("/v1/verify")).encode()
        head = (
            f"POST /v1/verify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        sent = self._bytes(head.encode()) + body[: self.random.choice((0, 100, len(body)))]
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=60) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
            self._check(_received(connection), "raw bytes")

    def _ask(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> None:
        """As it is, whatever is in it: no client library has a say."""
        lines = [f"{method} {target} HTTP/1.1", "Connection: close", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in ({"Host": "localhost"} | headers).items()]
        sent = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=60) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
            self._check(_received(connection), f"{method} {target[:60]!r}", head=method == "HEAD")

    def _check(self, answer: bytes, what: str, *, head: bool = False) -> None:
        if not answer:
            self.statuses[0] += 1
            return
        first, _, body = answer.partition(b"\r\n\r\n")
        status = int(first.split()[1])
        self.statuses[status] += 1
        if status >= 500:
            self.problems.append(f"{what}: {status} {body[:200]!r}")
        if status >= 400 and not head:
            try:
                error = json.JSONDecoder().raw_decode(body.decode())[0]["error"]  # another answer may follow
            except (ValueError, KeyError, TypeError):
                self.problems.append(f"{what}: {status} without an envelope: {body[:200]!r}")
                return
            if not (isinstance(error, str) or set(error) == {"code", "message", "request_id"}):
                self.problems.append(f"{what}: {status} with another envelope: {body[:200]!r}")


def _received(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def _plain(value: Any) -> str:
    text = "".join(sign for sign in str(value)[:3_000] if sign.isprintable())
    return urllib.parse.quote(text.encode("utf-8", "replace"))


def _other_images() -> list[bytes]:
    """The face in other formats."""
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(face_png(9), np.uint8), cv2.IMREAD_COLOR)
    return [cv2.imencode(suffix, picture)[1].tobytes() for suffix in (".jpg", ".webp", ".bmp", ".tiff")]


def resident(service: Service) -> int:
    """Kilobytes."""
    status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


def main() -> int:
    """Run it: the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options = ("--gallery", str(Path(folder) / "people.sqlite"), "--threads", "1")
        with serving(make_artifact(Path(folder) / "artifact"), *options) as service:
            problems, statuses = _run(service, arguments.count, arguments.seed)
            code = service.stop()
        if code:
            problems.append(f"it ended with {code}")
        text = "".join(service.log)
        problems += [
            f"the log holds {word}" for word in (NAME, urllib.parse.quote(NAME), NAME.split()[1]) if word in text
        ]
        problems += [f"the log: {line}" for line in service.lines() if line.get("level") in ("error", "critical")]
    others = Counter(line.split(":")[0][:60].strip() for line in service.log if not line.startswith("{"))
    print(f"lines of libraries: {dict(others.most_common(5))}")
    print(f"{sum(statuses.values())} requests: {dict(sorted(statuses.items()))}")
    for problem in problems[:20]:
        print(problem)
    return 1 if problems else 0


def _run(service: Service, count: int, seed: int) -> tuple[list[str], Counter[int]]:
    fuzzer = Fuzzer(service, seed)
    memory = []
    for number in range(count):
        fuzzer.step()
        if number in (count // 2, count - 1):
            memory.append(resident(service))
        if number % 1_000 == 999:
            print(f"{time.strftime('%H:%M:%S')} {number + 1}: {resident(service):,} kB", flush=True)
    if len(memory) == 2 and memory[1] > 1.05 * memory[0]:
        fuzzer.problems.append(f"memory grew from {memory[0]:,} to {memory[1]:,} kB")
    return fuzzer.problems, fuzzer.statuses


if __name__ == "__main__":
    sys.exit(main())
