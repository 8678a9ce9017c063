"""Servers of embeddings: `python tests/scripts/servers.py KIND ARTIFACT BACKEND` prints its port, serves until SIGTERM.

A POST of the bytes of faces is answered with those of their embeddings. Where there are workers, the Embedder was
opened and used before them, as with `gunicorn --preload` (wsgi.py); "spawn" and "forkserver" workers are sent it.
"""

from __future__ import annotations

import http.server
import multiprocessing
import signal
import socketserver
import sys
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from efq.runtime import Embedder

WORKERS = 2
FACES = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), dtype=np.uint8)


class ForkingServer(socketserver.ForkingMixIn, http.server.HTTPServer):
    """A process for each request."""


def open_used(artifact: str, backend: str) -> Embedder:
    embedder = Embedder.open(artifact, threads=2, backend=backend)
    embedder.embed(FACES)
    return embedder


def answer(embedder: Embedder, faces: bytes) -> bytes:
    return embedder.embed(np.frombuffer(faces, np.uint8).reshape(-1, 112, 112, 3)).tobytes()


def handler_of(embedder: Embedder) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found = answer(embedder, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, format: str, *arguments: object) -> None: ...

    return Handler


def end(number: int, frame: object) -> None:
    """On SIGTERM, as servers end."""
    sys.exit(0)


def serve(server: http.server.HTTPServer, embedder: Embedder) -> None:
    signal.signal(signal.SIGTERM, end)
    server.RequestHandlerClass = handler_of(embedder)
    server.serve_forever()


def serve_socket(server: Any, embedder: Embedder) -> None:
    """In a process that was given the listening socket."""
    own = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler, bind_and_activate=False)
    own.socket.close()
    own.socket = server
    serve(own, embedder)


def with_workers(method: str, server: http.server.HTTPServer, embedder: Embedder) -> None:
    """Processes that share the listening socket; the parent only waits."""
    context = multiprocessing.get_context(method)
    workers: list[BaseProcess] = []
    for _ in range(WORKERS):
        worker = context.Process(target=serve_socket, args=(server.socket, embedder))
        worker.start()
        workers.append(worker)

    def end_all(number: int, frame: object) -> None:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        embedder.close()
        ended = {0, -signal.SIGTERM}  # the latter is one that was not ready yet
        sys.exit(0 if {worker.exitcode for worker in workers} <= ended else 1)

    signal.signal(signal.SIGTERM, end_all)
    while True:
        signal.pause()


def main(kind: str, artifact: str, backend: str) -> None:
    """Serve with a server of that kind."""
    embedder = open_used(artifact, backend)
    classes = {"threads": http.server.ThreadingHTTPServer, "a-fork-each": ForkingServer}
    server = classes.get(kind, http.server.HTTPServer)(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    print(server.server_port, flush=True)
    if kind in classes:
        serve(server, embedder)
    else:
        with_workers(kind, server, embedder)


KINDS = ("threads", "a-fork-each", "fork", "forkserver", "spawn")


if __name__ == "__main__":
    main(*sys.argv[1:])
