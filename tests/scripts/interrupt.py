"""End commands at random moments: `python tests/scripts/interrupt.py --command all --signal INT --count 200 --seed 0`.

Each run is of a tiny network, half of them over an older output with --force; some, as --new says, start in a new
interpreter, so that the signal may come while modules load. After SIGINT: exit code 130 and one line (or the run had
finished), no traceback, no child, no temporary file, an output that is whole, old or not there. After SIGKILL the same
holds once the command has run again. An interrupted distillation goes on with --resume and has to make the student of
the run that was never interrupted. What does not hold is printed with its seed; the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from tiny_commands import Command, Run, Watched, commands, import_all, in_a_fork, make_inputs

MARK = "EFQ_INTERRUPT_RUN"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -9}


class Trial(Watched):
    """One command in a folder of its own, ended once and run again."""

    def __init__(self, command: Command, folder: Path, *, older: bool) -> None:
        super().__init__(command, folder)
        self.folder, self.older = folder, older
        self.inputs = {path.name for path in folder.iterdir()}
        (folder / "temporary").mkdir()

    def start(self, *more: str, new: bool = False) -> Run:
        """The command in a new process."""
        output = () if self.output is None else (self.command.option, self.output.name)
        environment = {
            MARK: str(self.folder),
            "TMPDIR": str(self.folder / "temporary"),
            "EFQ_CACHE": str(self.folder / "temporary" / "cache"),
            "EFQ_FACES": "",
        }
        return Run(self.command, (*output, *more), self.folder, environment=environment, new=new)

    def finish(self, *more: str) -> float:
        """Run it to its end, which has to be a good one; the seconds it took."""
        start = time.monotonic()
        code, errors = self.start(*more).finish()
        self.expect(code == 0, f"run to its end: exit code {code}, {errors[-500:]}")
        self.expect_whole("run to its end")
        return time.monotonic() - start

    def end(self, number: signal.Signals, after: float, *, new: bool) -> bool:
        """Run it and send a signal `after` seconds of its own; whether it came before the end."""
        before = self.content()
        run = self.start(*(self.command.force if self.older else ()), new=new)
        run.wait_until_ready()
        ended = run.wait(after) is None
        run.send_signal(number)
        code, errors = run.finish()
        words = errors.splitlines()
        self.expect_words(errors)
        self.expect(code in (0, CODES[number]), f"exit code {code}: {errors[-500:]}")
        if code == CODES[number] and number != signal.SIGKILL:
            said = bool(words) and words[-1].startswith(("interrupted", "terminated"))
            self.expect(said, f"the last line: {words[-1:]}")
        self.expect(not children(self.folder, patience=5.0), "children that live on")
        if self.output is not None:
            content = self.content()
            self.expect(not self.older or content != "", "the older output is gone")
            if content not in ("", before):
                self.expect_whole("after the signal")
        if number != signal.SIGKILL:
            self.expect_nothing_left("after the signal")
        return ended and code != 0

    def expect_nothing_left(self, when: str) -> None:
        """Nothing but inputs, outputs and what is to stay: a cache, a distillation's state, compilers' own caches."""
        found = {path.name for path in self.folder.iterdir()} - self.inputs - {"temporary", self.command.output}
        found -= {f"{self.command.output}.resume"}
        found |= {str(path) for path in self.folder.rglob("*.partial")}
        found |= {path.name for path in (self.folder / "temporary").iterdir()} - {"cache", "torchinductor_root"}
        self.expect(not found, f"{when} there is left: {sorted(found)}")


def children(folder: Path, *, patience: float) -> list[str]:
    """Processes that a run in `folder` started and that outlive it."""
    end = time.monotonic() + patience
    while found := list(_children(folder)):
        if time.monotonic() > end:
            return found
        time.sleep(0.05)
    return []


def _children(folder: Path) -> Iterator[str]:
    """Those that were started by it, by a mark in their environment."""
    wanted = f"{MARK}={folder}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (process / "environ").read_bytes() and "\nState:\tZ" not in (process / "status").read_text():
                yield (process / "cmdline").read_text().replace("\0", " ")[:200]


def student_content(path: Path) -> Any:
    """All that is in a student file but how long it took."""
    import torch

    content = torch.load(path, weights_only=True)
    del content["training"]["seconds"]
    return content


def same(one: Any, two: Any) -> bool:
    """Whether two values of a torch file are the same to the bit."""
    import torch

    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    return bool(one == two)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def trial(name: str, number: signal.Signals, root: Path, seed: str, usual: float, new: float) -> tuple[str, list[str]]:
    """One run that is ended; what came of it, and what did not hold."""
    draw = random.Random(seed)
    command, folder = commands()[name], root / "trial"
    shutil.copytree(root / "inputs", folder)
    try:
        tried = Trial(command, folder, older=draw.random() < 0.5 and command.output != "")
        if tried.older:
            shutil.copytree(root / "finished", folder, dirs_exist_ok=True)
        fresh = draw.random() < new
        ended = tried.end(number, draw.random() * (usual + 3 * fresh), new=fresh)
        state = folder / f"{command.output}.resume"
        resumes = name == "distill" and state.exists()
        force = command.force if tried.output is not None and tried.output.exists() else ()
        if command.output or number == signal.SIGKILL:
            tried.finish(*(["--resume"] if resumes else []), *force)
        tried.expect_nothing_left("after the next run")
        tried.expect(not state.exists() or not resumes, "the state of a finished run stays")
        if name == "distill":
            expected = student_content(root / "finished" / "out.pt")
            tried.expect(same(student_content(folder / "out.pt"), expected), f"another student, resumed: {resumes}")
        if command.same_bytes:
            tried.expect(bytes_of(folder / "out") == bytes_of(root / "finished" / "out"), "other bytes, resumed")
        outcome = "ended" if ended else "had finished"
        return f"{outcome}{', resumed' if resumes else ''}", tried.problems
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_trials(name: str, number: signal.Signals, count: int, seed: int, root: Path, new: float) -> dict[str, int]:
    """`count` trials of a command; prints what did not hold."""
    counts: collections.Counter[str] = collections.Counter()
    shutil.copytree(root / "inputs", root / "trial")
    first = Trial(commands()[name], root / "trial", older=False)
    usual = first.finish()
    shutil.rmtree(root / "finished", ignore_errors=True)
    (root / "finished").mkdir()
    if first.output is not None and first.output.exists():
        shutil.move(first.output, root / "finished")
    shutil.rmtree(root / "trial")
    for problem in first.problems:
        print(f"{name}: {problem}", flush=True)
        counts["HOLE"] += 1
    for place in range(count):
        outcome, problems = trial(name, number, root, f"{seed}/{name}/{place}", usual, new)
        for problem in problems:
            print(f"{name} {number.name} {seed}/{place}: {problem}", flush=True)
        counts["HOLE" if problems else outcome] += 1
    return counts


def main() -> None:
    """Count; exit 1 for a hole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", choices=[*commands(), "all"], nargs="+", default=["all"])
    parser.add_argument("--signal", choices=["INT", "TERM", "HUP", "KILL"], default="INT")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--new", type=float, default=0.1, help="Share of the runs that start in a new interpreter.")
    arguments = parser.parse_args()
    number = signal.Signals[f"SIG{arguments.signal}"]
    broke = False
    with tempfile.TemporaryDirectory(prefix="efq-interrupt-") as temporary:
        root = Path(temporary)
        (root / "inputs").mkdir()
        import_all()
        in_a_fork(make_inputs, root / "inputs")
        for name in commands() if "all" in arguments.command else arguments.command:
            start = time.monotonic()
            counts = run_trials(name, number, arguments.count, arguments.seed, root, arguments.new)
            found = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            print(f"{name} {number.name}: {found}, {time.monotonic() - start:.0f} s", flush=True)
            broke |= "HOLE" in counts
    sys.exit(broke)


if __name__ == "__main__":
    main()
