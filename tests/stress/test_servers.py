"""Servers answer with the bytes of one process, whatever their workers are, and end when they are told to."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers import FACES, KINDS

from efq.runtime import Embedder

SCRIPTS = Path(__file__).parents[1] / "scripts"
BACKENDS = ("onnxruntime", "openvino")
CLIENTS, REQUESTS = 4, 3


@pytest.mark.parametrize(
    ("backend", "kind"), [*(("onnxruntime", kind) for kind in KINDS), ("openvino", "a-fork-each"), ("openvino", "fork")]
)
def test_servers_answer(tiny_artifact: Path, backend: str, kind: str) -> None:
    pytest.importorskip(backend)
    with started([str(SCRIPTS / "servers.py"), kind, str(tiny_artifact), backend]) as server:
        assert server.stdout is not None
        check_answers(int(server.stdout.readline()), tiny_artifact, backend)
        server.terminate()
        assert server.wait(60) == 0


@pytest.mark.skipif(importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed")
@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gunicorn_preloads(tiny_artifact: Path, worker_class: str, backend: str) -> None:
    pytest.importorskip(backend)
    port = free_port()
    options = ["--preload", "--workers", "2", "--threads", "2", "--worker-class", worker_class, "--chdir", str(SCRIPTS)]
    command = ["-m", "gunicorn", *options, "--bind", f"127.0.0.1:{port}", "wsgi:application"]
    with started(command, EFQ_ARTIFACT=str(tiny_artifact), EFQ_BACKEND=backend) as server:
        wait_for(port)
        check_answers(port, tiny_artifact, backend)
        server.terminate()
        assert server.wait(60) == 0


@contextlib.contextmanager
def started(arguments: Sequence[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A server, which is killed where the test fails."""
    with subprocess.Popen(
        [sys.executable, *arguments], env=os.environ | environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def check_answers(port: int, artifact: Path, backend: str) -> None:
    """Clients at once, each with a batch of 8, which is more than one thread's part."""
    with Embedder.open(artifact, threads=2, backend=backend) as embedder:
        expected = embedder.embed(FACES).tobytes()
    url = f"http://127.0.0.1:{port}/"

    def ask(_: int) -> bytes:
        with urllib.request.urlopen(url, FACES.tobytes(), timeout=60) as response:
            return bytes(response.read())

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert set(pool.map(ask, range(CLIENTS * REQUESTS))) == {expected}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return
