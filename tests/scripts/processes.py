"""What programs do with an Embedder, each in a process of its own: `python tests/scripts/processes.py --rounds 10`.

A scenario prints "right" once everything it computed had the bytes it should have, and ends as programs do: its exit
code has to be 0, within a deadline. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import copy
import ctypes
import gc
import importlib.util
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tests_folder  # noqa: F401

from efq.runtime import Embedder, UsageError

BACKENDS = ("onnxruntime", "openvino", "auto")
DEADLINE = 120.0
ROUNDS = 20
FACES = np.random.default_rng(0).integers(0, 256, (21, 112, 112, 3), dtype=np.uint8)


def digest(embedder: Embedder) -> bytes:
    """What it computes of a batch, which every process has to agree on."""
    return embedder.embed(FACES).tobytes()


def children(count: int, work: Callable[[], bool], leave: Callable[[int], object] = sys.exit) -> bool:
    """Whether `work` is true in each of `count` forked children, which then end as programs do."""
    started = []
    for _ in range(count):
        process = os.fork()
        if process == 0:
            leave(0 if work() else 1)
        started.append(process)
    return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started] == [0] * count


@contextlib.contextmanager
def busy(work: Callable[[], object], threads: int = 3) -> Iterator[None]:
    """Threads that do `work` again and again meanwhile."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            work()

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(repeat) for _ in range(threads)]
        try:
            time.sleep(0.2)
            yield
        finally:
            ended.set()
        for future in running:
            future.result()


def preloaded_workers_use_it(open_one: Callable[[], Embedder]) -> bool:
    embedder = open_one()
    expected = digest(embedder)
    return children(3, lambda: digest(embedder) == expected) and digest(embedder) == expected


def preloaded_workers_do_not_use_it(open_one: Callable[[], Embedder]) -> bool:
    embedder = open_one()
    digest(embedder)
    return children(2, lambda: embedder.embedding_size > 0)


def preloaded_and_closed_in_the_parent(open_one: Callable[[], Embedder]) -> bool:
    embedder = open_one()
    expected = digest(embedder)
    go, said = os.pipe()

    def work() -> bool:
        os.read(go, 1)  # once the parent has closed its own
        right = digest(embedder) == expected
        embedder.close()
        return right

    process = os.fork()
    if process == 0:
        sys.exit(0 if work() else 1)
    embedder.close()
    os.write(said, b".")
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def preloaded_after_another_was_closed(open_one: Callable[[], Embedder]) -> bool:
    """Whose threads a runtime may keep, for the next model."""
    embedder = open_one()
    expected = digest(embedder)
    with open_one() as other:
        digest(other)
    return children(2, lambda: digest(embedder) == expected and digest(open_one()) == expected)


def opened_by_workers_after_the_parent_closed(open_one: Callable[[], Embedder]) -> bool:
    with open_one() as embedder:
        expected = digest(embedder)
    return children(2, lambda: digest(open_one()) == expected)


def forked_twice_into_another_folder(open_one: Callable[[], Embedder]) -> bool:
    """As a daemon is made."""
    embedder = open_one()
    expected = digest(embedder)

    def daemon() -> bool:
        os.chdir("/")
        return digest(embedder) == expected

    return children(1, lambda: digest(embedder) == expected and children(1, daemon))


def forked_by_a_c_program(open_one: Callable[[], Embedder]) -> bool:
    """As uWSGI does, which tells Python of a fork afterwards."""
    embedder = open_one()
    expected = digest(embedder)
    process = ctypes.PyDLL(None).fork()
    if process == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        sys.exit(0 if digest(embedder) == expected and digest(open_one()) == expected else 1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0 and digest(embedder) == expected


def forked_by_a_thread_while_others_embed(open_one: Callable[[], Embedder]) -> bool:
    embedder = open_one()
    expected = digest(embedder)
    with busy(lambda: digest(embedder)), ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: children(5, lambda: digest(embedder) == expected, os._exit)).result()


def forked_while_others_open(open_one: Callable[[], Embedder]) -> bool:
    expected = digest(open_one())

    def open_and_close() -> None:
        with open_one() as embedder:
            digest(embedder)

    with busy(open_and_close, 2):
        return all(children(1, lambda: digest(open_one()) == expected) for _ in range(5))


def forked_while_it_opens_for_the_first_time(open_one: Callable[[], Embedder]) -> bool:
    """The runtime is being imported, and with "auto" measured."""
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_one)
        answers = []
        while not opening.done() and len(answers) < 4:
            answers.append(children(1, lambda: len(digest(open_one())) > 0))
            time.sleep(0.05)
        opening.result().close()
    return all(answers)


def _embed_here(embedder: Embedder) -> bytes:
    return digest(embedder)


def pools_of_processes(open_one: Callable[[], Embedder]) -> bool:
    embedder = open_one()
    expected = digest(embedder)
    answers = []
    for method in ("fork", "forkserver", "spawn"):
        with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
            answers += list(pool.map(_embed_here, [embedder] * 3))
        with multiprocessing.get_context(method).Pool(1) as processes:
            answers += processes.map(_embed_here, [embedder])
    return set(answers) == {expected}


def copies(open_one: Callable[[], Embedder]) -> bool:
    embedder = open_one()
    expected = digest(embedder)
    with copy.copy(embedder) as one, copy.deepcopy({"embedder": embedder})["embedder"] as other:
        equal = {digest(one), digest(other)} == {expected}
    embedder.close()
    try:
        copy.copy(embedder)
    except UsageError:
        return equal
    return False


def an_event_loop(open_one: Callable[[], Embedder]) -> bool:
    embedder = open_one()
    expected = digest(embedder)

    async def serve() -> list[bytes]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(None, digest, embedder) for _ in range(20)))

    return set(asyncio.run(serve())) == {expected}


class _Ended(BaseException):
    """As SystemExit and KeyboardInterrupt: raised by a signal handler."""


def _interrupted(embedder: Embedder, work: Callable[[], None]) -> bool:
    """Whether a signal came while `embed` was called again and again."""

    def handle(number: int, frame: object) -> None:
        work()

    signal.signal(signal.SIGALRM, handle)
    seconds = float(np.random.default_rng().uniform(0.0005, 0.02))
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while True:
            digest(embedder)
    except _Ended:
        return True
    except UsageError:  # after a handler that closes and returns
        return True


def signals_that_raise(open_one: Callable[[], Embedder]) -> bool:
    def end() -> None:
        raise _Ended

    expected = b""
    for number in range(ROUNDS):
        with open_one() as embedder:
            expected = expected or digest(embedder)
            for _ in range(5):
                _interrupted(embedder, end)
            if digest(embedder) != expected:
                return False
        if number == 0:
            gc.collect()
    return True


def handlers_that_close(open_one: Callable[[], Embedder]) -> bool:
    """SIGTERM closes the model, and the program goes on or ends."""
    for number in range(ROUNDS):
        embedder = open_one()

        def close_and_end(embedder: Embedder = embedder, number: int = number) -> None:
            embedder.close()
            if number % 2:
                raise _Ended

        _interrupted(embedder, close_and_end)
        embedder.close()
    return True


def closed_by_another_thread(open_one: Callable[[], Embedder]) -> bool:
    """Calls either answer or say that it was closed."""
    expected = digest(open_one())
    for _ in range(10):
        embedder = open_one()

        def call(embedder: Embedder = embedder) -> bool:
            try:
                while digest(embedder) == expected:
                    pass
            except UsageError:
                return True
            return False

        with ThreadPoolExecutor(8) as pool:
            running = [pool.submit(call) for _ in range(8)]
            embedder.close()
            if not all(future.result() for future in running):
                return False
    return True


def never_closed(open_one: Callable[[], Embedder]) -> bool:
    """Threads and files are given back with the last reference."""
    used = []
    for _ in range(20):
        embedder = open_one()
        digest(embedder)
        del embedder
        used.append(_used())
        time.sleep(0.02)
    return used[-1] <= max(used[:4])


def closed_by_its_user(open_one: Callable[[], Embedder]) -> bool:
    """Threads and files are given back, but for the threads but one that OpenVINO's TBB keeps for the process."""
    before = _used()
    for _ in range(5):
        with open_one() as embedder:
            digest(embedder)
    deadline = time.monotonic() + 10
    while _used() > (before[0] + 1, before[1]) and time.monotonic() < deadline:
        time.sleep(0.01)
    threads, files = _used()
    return threads <= before[0] + 1 and files <= before[1] + 3  # libraries' own files, opened once


def _used() -> tuple[int, int]:
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def used_when_the_interpreter_ends(open_one: Callable[[], Embedder]) -> bool:
    embedder = open_one()
    expected = digest(embedder)

    def last() -> None:
        print("right" if digest(embedder) == expected else "wrong", flush=True)

    atexit.register(last)
    return True


def daemons_embed_when_the_interpreter_ends(open_one: Callable[[], Embedder]) -> bool:
    embedder = open_one()
    expected = digest(embedder)

    def serve() -> None:
        while digest(embedder) == expected:
            pass

    for _ in range(3):
        threading.Thread(target=serve, daemon=True).start()
    time.sleep(0.2)
    return True


def threads_embed_when_the_main_one_ends(open_one: Callable[[], Embedder]) -> bool:
    embedder = open_one()
    expected = digest(embedder)

    def serve() -> None:
        for _ in range(200):
            if digest(embedder) != expected:
                os._exit(5)

    for _ in range(3):
        threading.Thread(target=serve).start()
    return True


SCENARIOS: dict[str, Callable[[Callable[[], Embedder]], bool]] = {
    scenario.__name__: scenario
    for scenario in (
        preloaded_workers_use_it,
        preloaded_workers_do_not_use_it,
        preloaded_and_closed_in_the_parent,
        preloaded_after_another_was_closed,
        opened_by_workers_after_the_parent_closed,
        forked_twice_into_another_folder,
        forked_by_a_c_program,
        forked_by_a_thread_while_others_embed,
        forked_while_others_open,
        forked_while_it_opens_for_the_first_time,
        pools_of_processes,
        copies,
        an_event_loop,
        signals_that_raise,
        handlers_that_close,
        closed_by_another_thread,
        never_closed,
        closed_by_its_user,
        used_when_the_interpreter_ends,
        daemons_embed_when_the_interpreter_ends,
        threads_embed_when_the_main_one_ends,
    )
}


def run_here(scenario: str, artifact: str, backend: str) -> None:
    """One in this process; the artifact is opened by a relative path, as services do."""
    logging.getLogger("efq").setLevel(logging.ERROR)  # a backend that is named says each time that it is another's
    os.chdir(Path(artifact).parent)
    name = Path(artifact).name
    right = SCENARIOS[scenario](lambda: Embedder.open(name, threads=2, backend=backend))
    print("right" if right else "wrong", flush=True)


def problem_of(scenario: str, artifact: Path, backend: str) -> str | None:
    """What was not right of one in a process of its own, or None."""
    command = [sys.executable, __file__, "--here", scenario, str(artifact), backend]
    environment = os.environ | {"PYTHONWARNINGS": "ignore::DeprecationWarning"}  # Python 3.12 has one of any such fork
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            found, errors = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"still running after {DEADLINE:.0f} s"
    right = process.returncode == 0 and set(found.split()) == {"right"} and not errors
    return None if right else f"exit code {process.returncode}, said {found.split()}: {errors.strip()[-2000:]}"


def main() -> None:
    """Every scenario in every backend that is installed, again and again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--backend", action="append", choices=BACKENDS)
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS))
    options = parser.parse_args()
    installed = [name for name in BACKENDS if name == "auto" or importlib.util.find_spec(name)]
    cases = [
        (backend, scenario)
        for _ in range(options.rounds)
        for backend in options.backend or installed
        for scenario in options.scenario or SCENARIOS
    ]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        from artifacts import make_artifact

        os.environ.setdefault("EFQ_CACHE", str(Path(folder) / "cache"))
        artifact = make_artifact(Path(folder) / "tiny")
        for backend, scenario in cases:
            problem = problem_of(scenario, artifact, backend)
            if problem:
                failed += 1
                print(f"{backend}: {scenario}: {problem}", flush=True)
    print(f"{len(cases)} processes, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        run_here(*sys.argv[2:])
    else:
        main()
