"""A server's socket whose connection is lost at the moment of a COMMIT, before or after the server gets it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_NAME = ".s.PGSQL.5432"


class CommitProxy:
    """Listens in `folder`, passes on to the server whose socket is in another."""

    def __init__(self, server: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="efq-proxy-", dir="/tmp"))
        self.lost = 0
        self._server = server
        self._is_sent: bool | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / _NAME))
        self._listener.listen()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def lose_next_commit(self, *, is_sent: bool) -> None:
        """`is_sent`: the server gets it, and only its answer is lost."""
        self._is_sent = is_sent

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)
        shutil.rmtree(self.folder)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._server / _NAME))
                self._start(self._pass_on, client, server, True)
                self._start(self._pass_on, server, client, False)

    def _pass_on(self, source: socket.socket, target: socket.socket, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_client and self._is_sent is not None and b"COMMIT" in data:
                    is_sent, self._is_sent = self._is_sent, None
                    self.lost += 1
                    _end(source)
                    if is_sent:
                        target.sendall(data)
                    break
                target.sendall(data)
        if is_client:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)
            return
        _end(target)
        source.close()


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
