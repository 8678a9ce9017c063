"""A service on a port: until a signal says that it is to end, and then until what was accepted is answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from efq.runtime.errors import EfqError, UsageError
from efq.runtime.service.engine import FaceEngine
from efq.runtime.service.process.protocol import ServiceProtocol

KEEP_ALIVE_SECONDS = 30
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BACKLOG = 2_048


class DrainError(EfqError):
    """The service ended before what was accepted was answered."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError for an address that is none of this machine, or in use."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"expected an address of this machine that is free as --host {host} --port {port}, found: {reason}"
        raise UsageError(message) from error
    return listening


def serve(
    app: FastAPI, listening: socket.socket, *, drain: float, drain_delay: float, started: Callable[[], None]
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP. `started` is called once requests are accepted.

    Then the service says for `drain_delay` seconds that it is not ready, and still serves; stops accepting connections;
    and has `drain` seconds for what was accepted. A second signal ends that.

    Raises DrainError where something was not answered.
    """
    config = uvicorn.Config(
        app,
        http=ServiceProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(drain)),
        backlog=_BACKLOG,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it logs exceptions with what they say
    server = _Server(config, app.state.engine, drain_delay=drain_delay, started_hook=started)
    asyncio.run(server.serve(sockets=[listening]))
    if server.unanswered:
        message = f"expected to answer what was accepted within {drain:g} s, found {server.unanswered} requests left"
        raise DrainError(message)


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, engine: FaceEngine, *, drain_delay: float, started_hook: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._engine, self._drain_delay, self._started_hook = engine, drain_delay, started_hook
        self._draining: asyncio.Task[None] | None = None
        self.unanswered = 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as added:
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    loop.add_signal_handler(number, self._on_signal)
                    added.callback(loop.remove_signal_handler, number)
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started_hook()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._engine.draining = True
        await super().shutdown(sockets)

    async def _wait_tasks_to_complete(self) -> None:
        try:
            await super()._wait_tasks_to_complete()
        finally:
            self.unanswered = len(self.server_state.tasks)

    def _on_signal(self) -> None:
        if self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        self._engine.draining = True
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        await asyncio.sleep(self._drain_delay)
        self.should_exit = True
