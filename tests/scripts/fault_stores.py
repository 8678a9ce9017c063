"""A gallery's file under faults: `python tests/scripts/fault_stores.py --kills 200 --damages 500`.

--kills: a process enrols and removes, says what is done, and is killed at a random moment; then all that it said is
so, what it had begun is there as a whole or not at all, and what it removed is in no file. --damages: bytes of a closed
file are changed, or its end is cut off: opening it is a typed error, or the answers are those of the sound file.
--full: the disk, a tmpfs, is full at each of so many sizes; needs to mount (`unshare -rm python ...`). What does not
hold is printed; the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import tests_folder  # noqa: F401
from store_reference import Reference
from stores import faces, open_store

from efq.runtime.errors import EfqError, GalleryError
from efq.runtime.gallery.stores.store import GalleryStore

LONGEST = 0.8
"""Seconds until a kill, from when a child begins to open the file."""

PEOPLE = 40


def act(store: GalleryStore, number: int, draw: random.Random) -> Iterator[str]:
    """Enroll or remove; says what before it begins and when it is done."""
    person = f"person {draw.randrange(PEOPLE)}"
    if draw.random() < 0.3:
        yield f"remove {person}"
        store.remove(person)
    else:
        count = draw.randint(1, 4)
        yield f"enroll {number} {count} {person}"
        store.enroll(person, faces(count, seed=number), faces=names_of(number, count))
    yield "done"


def names_of(number: int, count: int) -> list[str]:
    return [f"face {number}.{place}." for place in range(count)]


def child(place: str, number: int, seed: int, pipe: int) -> None:
    """Never returns."""
    code = 1
    with contextlib.suppress(BaseException), open_store(place) as store:
        draw = random.Random(seed)
        while True:
            for line in act(store, number, draw):
                os.write(pipe, f"{line}\n".encode())
            number += 1
    os._exit(code)


def kill_one(place: str, number: int, seed: int, after: float) -> list[str]:
    """What a child said until it was killed."""
    read, write = os.pipe()
    process = os.fork()
    if not process:
        os.close(read)
        child(place, number, seed, write)
    os.close(write)
    end, said = time.monotonic() + after, b""
    while (left := end - time.monotonic()) > 0:
        if select.select([read], [], [], left)[0]:
            said += os.read(read, 1 << 16)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    while part := os.read(read, 1 << 16):
        said += part
    os.close(read)
    return said.decode().splitlines()


class Watch:
    """What has to be enrolled, and what has to be in no file."""

    def __init__(self) -> None:
        self.reference = Reference(template="best")
        self.erased: list[bytes] = []
        self.problems: list[str] = []
        self.done = self.begun = 0

    def take(self, said: list[str], store: GalleryStore) -> int:
        """Take over what is done, and of what was only begun what is there; the highest number that was used."""
        highest = 0
        for line, after in itertools.pairwise([*said, ""]):
            if line == "done":
                continue
            what, _, rest = line.partition(" ")
            if what == "remove":
                is_done = after == "done" or not store.faces_of(rest)
                self.apply_removal(rest, is_done=is_done)
            else:
                number, count, person = rest.split(" ", 2)
                highest = max(highest, int(number))
                names = names_of(int(number), int(count))
                there = set(names) <= set(store.faces_of(person))
                if after == "done" or there:
                    self.reference.enroll(person, faces(int(count), seed=int(number)), names)
            self.done += after == "done"
            self.begun += after != "done"
        return highest

    def apply_removal(self, person: str, *, is_done: bool) -> None:
        if is_done:
            self.erased += [
                row.astype(np.float32).tobytes() for row in self.reference.enrolled.get(person, {}).values()
            ]
            self.reference.remove(person)

    def check(self, store: GalleryStore, folder: Path, where: str) -> None:
        enrolled = self.reference.enrolled
        listed = {person.name: set(store.faces_of(person.name)) for person in store.people(limit=1000)}
        if listed != {name: set(rows) for name, rows in enrolled.items()}:
            self.problems.append(f"{where}: others are enrolled than were acknowledged")
        probes = faces(3, seed=len(where))
        with contextlib.suppress(AssertionError):
            self.reference.expect_found(store.search(probes, 1000), probes, 1000)
            probes = np.concatenate([row[None] for rows in enrolled.values() for row in rows.values()] or [probes])
            self.reference.expect_found(store.search(probes[:8].astype(np.float32), 5), probes[:8], 5)
            content = b"".join(file.read_bytes() for file in folder.iterdir())
            left = sum(row in content for row in self.erased)
            if left:
                self.problems.append(f"{where}: {left} removed faces are still in the files")
            return
        self.problems.append(f"{where}: a search finds others")


def kills(count: int, draw: random.Random) -> list[str]:
    """Kill so many processes on one gallery."""
    watch, number = Watch(), 1
    with tempfile.TemporaryDirectory(prefix="efq-kills-") as temporary:
        place = str(Path(temporary) / "gallery.db")
        for run in range(count):
            said = kill_one(place, number, draw.randrange(1 << 30), draw.random() * LONGEST)
            with open_store(place) as store:
                number = max(number, watch.take(said, store)) + 1
                watch.check(store, Path(temporary), f"run {run}")
    print(f"{count} kills: {watch.done} calls acknowledged, {watch.begun} interrupted", flush=True)
    return watch.problems


def damages(count: int, draw: random.Random) -> list[str]:
    """Change bytes of a closed file so many times."""
    problems, refused = [], 0
    with tempfile.TemporaryDirectory(prefix="efq-damages-") as temporary:
        path = Path(temporary) / "gallery.db"
        reference = Reference(template="best")
        with open_store(str(path)) as store:
            for number in range(120):
                for line in act(store, number, draw):
                    del line
            for part in store.export():
                for row, person, face in zip(part.embeddings, part.people.tolist(), part.faces.tolist(), strict=True):
                    reference.enroll(person, row[None], [face])
        sound, probes = path.read_bytes(), faces(5, seed=1)
        for run in range(count):
            for left in Path(temporary).iterdir():
                left.unlink()
            path.write_bytes(damaged(sound, draw))
            try:
                with open_store(str(path), create=False) as store:
                    reference.expect_found(store.search(probes, 1000), probes, 1000)
            except EfqError:
                refused += 1
            except Exception as error:  # what is looked for
                problems.append(f"damage {run}: {type(error).__name__}: {str(error)[:200]}")
    print(f"{count} damages: {refused} refused, {count - refused - len(problems)} without effect", flush=True)
    return problems


def damaged(content: bytes, draw: random.Random) -> bytes:
    """One bit, sixteen bytes, a page, or the end."""
    start = draw.randrange(len(content))
    kind = draw.randrange(4)
    if kind == 0:
        return content[:start] + bytes([content[start] ^ (1 << draw.randrange(8))]) + content[start + 1 :]
    if kind == 1:
        return content[:start] + draw.randbytes(16) + content[start + 16 :]
    if kind == 2:
        page = start // 8192 * 8192
        other = draw.randrange(len(content) // 8192) * 8192
        return content[:page] + content[other : other + 8192] + content[page + 8192 :]
    return content[:start]


def full_disks(count: int, draw: random.Random) -> list[str]:
    """So many disks that become full."""
    problems = []
    for run in range(count):
        with tempfile.TemporaryDirectory(prefix="efq-full-") as temporary:
            size = draw.randrange(70, 130) * 4096
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", temporary], check=True)
            try:
                problems += [f"disk {run}, {size} bytes: {problem}" for problem in fill_disk(Path(temporary), draw)]
            finally:
                subprocess.run(["umount", temporary], check=True)
    print(f"{count} full disks", flush=True)
    return problems


def fill_disk(folder: Path, draw: random.Random) -> list[str]:
    """Act until the disk is full, and after there is room again."""
    watch, place = Watch(), str(folder / "gallery.db")
    number, failed = 1, 0
    with open_store(place) as store:
        while failed < 20 and number < 2000:
            said = []
            try:
                for line in act(store, number, draw):
                    said.append(line)
            except GalleryError:
                failed += 1
            watch.take(said, store)
            number += 1
        watch.check(store, folder, "full")
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        store.remove("nobody")
        store.enroll("Ada", faces(1, seed=number), faces=["last"])
        watch.reference.enroll("Ada", faces(1, seed=number), ["last"])
        watch.check(store, folder, "with room")
    with open_store(place) as store:
        watch.check(store, folder, "opened again")
    if failed < 20:
        watch.problems.append("the disk was never full")
    shutil.rmtree(folder, ignore_errors=True)
    return watch.problems


def main() -> None:
    """Exit 1 for what does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--damages", type=int, default=0)
    parser.add_argument("--full", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    problems = []
    for run, count in ((kills, arguments.kills), (damages, arguments.damages), (full_disks, arguments.full)):
        if count:
            problems += run(count, draw)
    for problem in problems:
        print(problem)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
