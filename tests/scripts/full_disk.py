"""Commands on a disk that fails: `python tests/scripts/full_disk.py --seed 0`; --tmpfs after `unshare -rm python ...`.

Outputs, caches and temporary files are on that disk, the inputs elsewhere. At first each call that changes the disk is
counted, then each fails in turn, once or from there on, with ENOSPC, EDQUOT, EROFS or EIO (failing_writes.py). With
--tmpfs it is a real one, larger by a page at every run until all fits, and read-only at last; that needs to mount, as
root or in a namespace of its own. A run has to end with its result, or with exit code 1 or 2 and a sentence that names
the place or the reason, without a traceback and with the older output as it was; and the next run, on a disk with
room, has to succeed and leave nothing else. What does not hold is printed; the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import errno
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from failing_writes import FAILURES, Disk, supported
from tiny_commands import Command, Run, Watched, commands, import_all, in_a_fork, make_inputs

LASTING = {errno.ENOSPC: True, errno.EDQUOT: False, errno.EROFS: True, errno.EIO: False}
PAGE = 4096
ROOM = 512 * 2**20


class Trial(Watched):
    """A command whose output is in `root / disk`."""

    def __init__(self, command: Command, root: Path, *, older: bool) -> None:
        super().__init__(command, root / "disk")
        self.root, self.disk = root, root / "disk"
        self.older = older and self.output is not None
        if self.older:
            shutil.copytree(root / "finished", self.disk, dirs_exist_ok=True)
        self.before = self.content()

    def run(self, before: Callable[[], object] = lambda: None, *, force: bool, more: Sequence[str] = ()) -> Run:
        output = () if self.output is None else (self.command.option, str(self.output))
        environment = {
            "TMPDIR": str(self.disk / "temporary"),
            "EFQ_CACHE": str(self.disk / "cache"),
            "EFQ_FACES": "",
        }
        words = (*output, *more, *(self.command.force if force else ()))
        return Run(self.command, words, self.root / "inputs", environment=environment, before=before)

    def fail(self, disk: Disk) -> str:
        """Run it on that disk; how it ended."""
        run = self.run(disk.watch, force=self.older)
        disk.serve(run.wait, run.pid)
        return self.judge(*run.finish(), disk.failed[:1])

    def judge(self, code: int, errors: str, failed: Sequence[str] = ()) -> str:
        """What has to hold of a run that a disk failed."""
        words = errors.splitlines()
        place = f" ({failed[0]})" if failed else ""
        self.expect_words(errors, place)
        self.expect(code in (0, 1, 2), f"exit code {code}{place}: {errors[-500:]}")
        if code in (1, 2):
            self.expect(any("error: " in line for line in words), f"exit code {code} without a word{place}")
            reason = re.search(r"No space|Disk quota|Read-only|Input/output|room|cannot write", errors)
            self.expect(reason is not None, f"without a reason{place}: {errors[-500:]}")
        if self.output is not None and (code == 0 or self.content() not in ("", self.before)):
            self.expect_whole(f"exit code {code}{place}")
        if code and self.older:
            self.expect(self.content() == self.before, f"exit code {code}, and the older output is another{place}")
        return f"exit code {code}"

    def recover(self) -> None:
        """The next run, with room."""
        resumes = self.output is not None and self.output.with_name(f"{self.output.name}.resume").is_file()
        force = self.output is not None and self.output.exists()
        code, errors = self.run(force=force, more=["--resume"] if resumes else []).finish()
        self.expect(code == 0, f"the next run: exit code {code}: {errors[-800:]}")
        self.expect_whole("the next run")
        left = [str(path) for path in self.disk.rglob("*") if path.name.endswith((".partial", ".previous", ".resume"))]
        left += [
            path.name for path in self.disk.iterdir() if path.name not in ("cache", "temporary", self.command.output)
        ]
        self.expect(not left, f"the next run left {left}")


def failing_calls(name: str, root: Path, most: int, draw: random.Random) -> collections.Counter[str]:
    """Each call fails in turn, or `most` of them, with each error."""
    counts: collections.Counter[str] = collections.Counter()
    for code in FAILURES:
        reset(root)
        watched = Disk(root / "disk", code=code)
        run = Trial(commands()[name], root, older=False).run(watched.watch, force=False)
        watched.serve(run.wait, run.pid)
        run.finish()
        places = list(range(1, len(watched.calls) + 1))
        for place in sorted(draw.sample(places, min(most, len(places)))):
            reset(root)
            trial = Trial(commands()[name], root, older=draw.random() < 0.5)
            disk = Disk(root / "disk", code=code, first=place, lasting=LASTING[code])
            outcome = trial.fail(disk)
            trial.recover()
            report(counts, trial, outcome, f"{name} {errno.errorcode[code]} {place}")
    return counts


def full_disks(name: str, root: Path, most: int, draw: random.Random) -> collections.Counter[str]:
    """A tmpfs with room for so many pages more than the older output, `most` of the sizes that are too small."""
    counts: collections.Counter[str] = collections.Counter()
    needed = finish_on_tmpfs(name, root)
    sizes = sorted(draw.sample(range(needed), min(most, needed)))
    for pages in (*sizes, None):
        mount(root, ROOM)
        trial = Trial(commands()[name], root, older=draw.random() < 0.5)
        used = os.statvfs(root / "disk")
        taken = used.f_blocks - used.f_bfree
        options = "ro" if pages is None else f"size={(taken + pages + 1) * PAGE}"
        subprocess.run(["mount", "-o", f"remount,{options}", root / "disk"], check=True)
        outcome = trial.judge(*trial.run(force=trial.older).finish())
        subprocess.run(["mount", "-o", f"remount,rw,size={ROOM}", root / "disk"], check=True)
        trial.recover()
        report(counts, trial, outcome, f"{name} {'read-only' if pages is None else f'{pages} pages'}")
        subprocess.run(["umount", root / "disk"], check=True)
    return counts


def finish_on_tmpfs(name: str, root: Path) -> int:
    """The pages that a whole run leaves, and a tenth of them more for what it removes."""
    mount(root, ROOM)
    trial = Trial(commands()[name], root, older=False)
    trial.run(force=False).finish()
    used = os.statvfs(root / "disk")
    subprocess.run(["umount", root / "disk"], check=True)
    return (used.f_blocks - used.f_bfree) * 11 // 10 + 4


def mount(root: Path, size: int) -> None:
    (root / "disk").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", root / "disk"], check=True)
    (root / "disk" / "temporary").mkdir()


def reset(root: Path) -> None:
    shutil.rmtree(root / "disk", ignore_errors=True)
    (root / "disk" / "temporary").mkdir(parents=True)


def report(counts: collections.Counter[str], trial: Trial, outcome: str, place: str) -> None:
    for problem in trial.problems:
        print(f"{place}: {problem}", flush=True)
    counts["HOLE" if trial.problems else outcome] += 1


def main() -> None:
    """Count; exit 1 for a hole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", choices=[*commands(), "all"], nargs="+", default=["all"])
    parser.add_argument("--tmpfs", action="store_true", help="Real disks instead of calls that fail.")
    parser.add_argument("--most", type=int, default=10**6, help="At most so many places a command and an error.")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not arguments.tmpfs and not supported():
        sys.exit("expected Linux 5.5 or newer on x86-64")
    broke, draw = False, random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="efq-disk-") as temporary:
        root = Path(temporary)
        (root / "inputs").mkdir()
        import_all()
        in_a_fork(make_inputs, root / "inputs")
        for name in commands() if "all" in arguments.command else arguments.command:
            start = time.monotonic()
            reset(root)
            first = Trial(commands()[name], root, older=False)
            first.recover()
            shutil.rmtree(root / "finished", ignore_errors=True)
            (root / "finished").mkdir()
            if first.output is not None:
                shutil.move(first.output, root / "finished")
            reset(root)
            counts = (full_disks if arguments.tmpfs else failing_calls)(name, root, arguments.most, draw)
            for problem in first.problems:
                print(f"{name}: {problem}", flush=True)
            found = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            print(f"{name}: {found}, {time.monotonic() - start:.0f} s", flush=True)
            broke |= "HOLE" in counts or bool(first.problems)
    sys.exit(broke)


if __name__ == "__main__":
    main()
