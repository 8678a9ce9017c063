"""A gallery in PostgreSQL under faults: `python tests/scripts/fault_postgresql.py --kills 100 --restarts 10 --full 1`.

--kills: a process enrolls and removes, says what is done, and is killed at a random moment. --restarts: the server is
stopped or crashes, and starts again, while threads enroll, remove and search. --full: its disk, a tmpfs, is full (needs
to mount: `unshare -rm`, or root). Then all that was acknowledged is so, what was begun is there as a whole or not at
all, and every failure was a GalleryError. What does not hold is printed; the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import tests_folder  # noqa: F401
from fault_stores import LONGEST, Watch, kill_one
from postgresql import PostgresqlServer, new_place, programs, running_server, shared_database, shared_server
from stores import faces, open_store

from efq.runtime.errors import GalleryError
from efq.runtime.gallery.stores.store import GalleryStore

THREADS = 4


def kills(count: int, draw: random.Random) -> list[str]:
    """Kill so many processes on one gallery."""
    watch, number, place = Watch(), 1, new_place()
    with tempfile.TemporaryDirectory() as empty, open_store(place) as store:
        for run in range(count):
            said = kill_one(place, number, draw.randrange(1 << 30), draw.random() * LONGEST * 2)
            wait_for_sessions()
            number = max(number, watch.take(said, store)) + 1
            watch.check(store, Path(empty), f"run {run}")
    print(f"{count} kills: {watch.done} calls acknowledged, {watch.begun} interrupted", flush=True)
    return watch.problems


def wait_for_sessions() -> None:
    """Until the server has ended the sessions of clients that are gone; the watching store's own are idle."""
    question = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'efq' AND state <> 'idle'"
    while shared_server().execute(question, shared_database()) != [(0,)]:
        time.sleep(0.02)


class Client(threading.Thread):
    """Enrolls and removes people of its own, and searches, until told to stop."""

    def __init__(self, store: GalleryStore, number: int) -> None:
        super().__init__()
        self.store, self.number = store, number
        self.expected: dict[str, set[str]] = {}
        self.counts: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []
        self.ends = threading.Event()

    def run(self) -> None:
        draw, step = random.Random(self.number), 0
        while not self.ends.is_set():
            step += 1
            person = f"client {self.number} person {draw.randrange(10)}"
            names = [f"{self.number} {step} {place}" for place in range(3)]
            before = self.expected.get(person, set())
            is_removal = draw.random() < 0.2
            after = set() if is_removal else before | set(names)
            try:
                if is_removal:
                    self.store.remove(person)
                else:
                    self.store.enroll(person, faces(3, seed=step), faces=names)
                self.expected[person] = after
                self.store.search(faces(1, seed=step), 5)
                self.counts["done"] += 1
            except GalleryError as error:
                self.counts["GalleryError"] += 1
                if "not known" in str(error):
                    self.problems.append(str(error))
                time.sleep(0.02)
            except BaseException as error:
                self.problems.append(f"{type(error).__name__}: {error}")


def restarts(count: int, draw: random.Random) -> list[str]:
    """Restart a server so many times under load."""
    with running_server() as server, open_store(server.url(server.new_database())) as store:
        clients = [Client(store, number) for number in range(THREADS)]
        for client in clients:
            client.start()
        for _ in range(count):
            time.sleep(0.3 + draw.random())
            server.stop(draw.choice([signal.SIGINT, signal.SIGQUIT]))
            time.sleep(draw.random() * 0.3)
            server.start()
        time.sleep(0.5)
        for client in clients:
            client.ends.set()
        for client in clients:
            client.join()
        problems = [problem for client in clients for problem in client.problems]
        for client in clients:
            for person, names in client.expected.items():
                if set(store.faces_of(person)) != names:
                    problems.append(f"{person}: other faces are enrolled than were acknowledged")
        counts = sum((client.counts for client in clients), collections.Counter())
    print(f"{count} restarts under load: {dict(counts)}", flush=True)
    return problems


def full_disks(count: int, draw: random.Random) -> list[str]:
    """So many disks that become full."""
    return [problem for _ in range(count) for problem in full_disk(draw)]


def full_disk(draw: random.Random) -> list[str]:
    """Enroll until the disk is full, and after there is room again."""
    found = programs()
    assert found is not None
    with tempfile.TemporaryDirectory(prefix="efq-full-", dir="/tmp") as temporary:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=140m", "tmpfs", temporary], check=True)
        server = PostgresqlServer(found, Path(temporary))
        try:
            server.start()
            for setting in ("max_wal_size = '48MB'", "min_wal_size = '32MB'"):
                server.execute(f"ALTER SYSTEM SET {setting}")
            server.execute("SELECT pg_reload_conf()")
            return fill(server, draw)
        finally:
            server.stop()
            subprocess.run(["umount", temporary], check=True)


def fill(server: PostgresqlServer, draw: random.Random) -> list[str]:
    problems: list[str] = []
    with open_store(server.url(server.new_database())) as store:
        done, failures = 0, 0
        while not failures and done < 1000:
            try:
                store.enroll(f"person {done}", faces(2000, seed=done), faces=[f"{done} {n}" for n in range(2000)])
                done += 1
            except GalleryError as error:
                failures += 1
                print(f"full after {done} enrolments: {str(error)[:200]}", flush=True)
        subprocess.run(["mount", "-o", "remount,size=400m", str(server.folder)], check=True)
        if not server.is_running:
            server.start()
        wait_for(store)
        store.enroll("last", faces(1, seed=draw.randrange(100)))
        if [person.name for person in store.people(limit=2000)] != sorted(
            [f"person {n}" for n in range(done)] + ["last"]
        ):
            problems.append("others are enrolled than were acknowledged")
        if store.size().faces != 2000 * done + 1:
            problems.append(f"{store.size().faces} faces are enrolled, {2000 * done + 1} were acknowledged")
        if not failures:
            problems.append("the disk was never full")
    return problems


def wait_for(store: GalleryStore) -> None:
    """Until a server that crashed for want of room has recovered."""
    end = time.monotonic() + 60
    while True:
        try:
            store.check()
            return
        except GalleryError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def main() -> None:
    """Exit 1 for what does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("--full", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    problems: list[str] = []
    for run, count in ((kills, arguments.kills), (restarts, arguments.restarts), (full_disks, arguments.full)):
        found = run(count, draw) if count else []
        print(*found, sep="\n", end="\n" * bool(found), flush=True)
        problems += found
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
