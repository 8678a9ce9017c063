"""The processes that are measured: on one core, while what measures them is on the other."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from efq.benchmarks.serving.client import Address
from efq.runtime.errors import ServerError

STARTING_SECONDS = 120.0
ENDING_SECONDS = 60.0

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def cores() -> tuple[frozenset[int], frozenset[int]]:
    """Of those that this process may use, the first for what is measured and the others for what measures.

    The same for both where there is one alone, or where the system pins nothing.
    """
    if not hasattr(os, "sched_getaffinity"):
        return frozenset(), frozenset()
    usable = sorted(os.sched_getaffinity(0))
    return frozenset(usable[:1]), frozenset(usable[1:] or usable)


@contextlib.contextmanager
def pinned(chosen: frozenset[int]) -> Iterator[None]:
    """Run this thread, and start processes, on these cores; none leaves it as it is."""
    if not chosen:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class ServiceProcess:
    """A service that accepts requests."""

    def __init__(self, process: subprocess.Popen[str], address: Address) -> None:
        self.process = process
        self.address = address

    def resident_bytes(self) -> int:
        """Memory that is its own or shared, as the kernel counts it (VmRSS of proc_pid_status(5)); 0 where unknown."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self) -> float:
        """That all of its threads have computed (proc_pid_stat(5)); 0 where unknown."""
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / _TICKS
        return 0.0

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(ENDING_SECONDS)


@contextlib.contextmanager
def started(module: str, arguments: Sequence[str], chosen: frozenset[int]) -> Iterator[ServiceProcess]:
    """Start a module that says on its first line where it serves, "... at http://HOST:PORT"; it ends with the block.

    Raises ServerError where it says something else, or nothing in `STARTING_SECONDS`.
    """
    command = [sys.executable, "-m", module, *arguments, "--port", "0"]
    with pinned(chosen):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    watchdog = threading.Timer(STARTING_SECONDS, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        watchdog.cancel()
        host, _, port = first.strip().rpartition(" at http://")[2].rpartition(":")
        if not port.isdecimal():
            message = f"expected {module} to serve, found that it ended or said nothing: run it alone to see why"
            raise ServerError(message)
        yield ServiceProcess(process, Address(host=host, port=int(port)))
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()


def measured_alone(module: str, arguments: Sequence[str], chosen: frozenset[int]) -> dict[str, float]:
    """Run a module that prints one object of JSON with numbers."""
    with pinned(chosen):
        done = subprocess.run([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
