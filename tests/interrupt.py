"""End commands at random moments: `python tests/interrupt.py --command all --signal INT --count 200 --seed 0`.

Each run is of a tiny network, half of them over an older output with --force. After SIGINT: exit code 130 and one line
(or the run had finished), no traceback, no child, no temporary file, an output that is whole, old or not there. After
SIGKILL the same holds once the command has run again. An interrupted distillation goes on with --resume and has to make
the student of the run that was never interrupted. What does not hold is printed with its seed; the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
MARK = "EFQ_INTERRUPT_RUN"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
DEADLINE = 300.0
RECIPE = 'activation = "relu"\nsteps = 30\nidentities_per_batch = 4\ncalibration_images = 16\nfitting_images = 16\n'


def run_here(module: str, arguments: Sequence[str]) -> None:
    """A command in this process, by its door; a distillation keeps its state after every step."""
    from efq.runtime.commands import entry

    if module == "efq.toolchain.distill_command":
        from efq.toolchain.distillation.trainer import Trainer

        Trainer.run.__kwdefaults__["checkpoint_seconds"] = 0.0
    sys.argv = ["efq", *arguments]
    entry.run(module)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A command's module, its arguments but for the output, and how to tell that the output is whole."""

    module: str
    arguments: tuple[str, ...]
    output: str = ""
    check: Callable[[Path], object] = lambda path: None
    force: str = "--force"


def check_student(path: Path) -> None:
    from efq.toolchain.student import load_student

    load_student(path)


def check_artifact(path: Path) -> None:
    from efq.runtime.artifact.folder import Artifact

    Artifact.open(path)


def check_embeddings(path: Path) -> None:
    import numpy as np

    assert len(np.load(path)["embeddings"])


def check_report(path: Path) -> None:
    json.loads((path / "report.json").read_text())
    assert (path / "report.md").stat().st_size


def check_demo(path: Path) -> None:
    assert (path / "index.html").stat().st_size
    check_artifact(path / "artifact")


def commands() -> dict[str, Command]:
    """Relative to the folder that `make_inputs` fills."""
    backbone = ("--backbone", "networks:teacher_network")
    distill = ("teacher.pt", "--faces", "faces", "--recipe", "tiny.toml", *backbone, "--threads", "1")
    return {
        "distill": Command(
            module="efq.toolchain.distill_command", arguments=distill, output="out.pt", check=check_student
        ),
        "export": Command(
            module="efq.export.export_command", arguments=("student.pt",), output="out", check=check_artifact
        ),
        "embed": Command(
            module="efq.runtime.embed_command",
            arguments=("artifact", "faces"),
            output="out.npz",
            check=check_embeddings,
            force="",
        ),
        "bench": Command(
            module="efq.benchmarks.bench_command",
            arguments=("artifact", "--teacher", "teacher.pt", *backbone, "--rounds", "10", "--seconds", "1"),
            output="out",
            check=check_report,
        ),
        "demo": Command(module="efq.benchmarks.demo_command", arguments=("--quick",), output="out", check=check_demo),
        "evaluate": Command(
            module="efq.toolchain.evaluate_command", arguments=("student.pt", "--faces", "faces", "--bootstrap", "9")
        ),
        "inspect": Command(
            module="efq.export.inspect_command", arguments=("student.pt", "--sensitivity", "--faces", "faces")
        ),
        "doctor": Command(module="efq.runtime.doctor_command", arguments=()),
        "help": Command(module="efq.toolchain.distill_command", arguments=("--help",)),
    }


def make_inputs(folder: Path) -> None:
    """Teacher, student, artifact and faces, all tiny."""
    from artifacts import make_artifact
    from networks import make_student, make_teacher, randomize, teacher_network, write_faces

    from efq.toolchain.student import save_student

    make_artifact(folder / "artifact")
    make_teacher(folder / "teacher.pt")
    write_faces(folder / "faces")
    save_student(make_student(randomize(teacher_network()), size=112), folder / "student.pt")
    (folder / "tiny.toml").write_text(RECIPE)


class Trial:
    """One command in a folder of its own, ended once and run again."""

    def __init__(self, command: Command, folder: Path, *, older: bool) -> None:
        self.command, self.folder, self.older = command, folder, older
        self.output = folder / command.output if command.output else None
        self.inputs = {path.name for path in folder.iterdir()}
        (folder / "temporary").mkdir()
        self.problems: list[str] = []

    def start(self, *more: str) -> subprocess.Popen[str]:
        """The command in a new process."""
        output = () if self.output is None else ("-o", self.output.name)
        arguments = (*self.command.arguments, *output, *more)
        environment = os.environ | {
            MARK: str(self.folder),
            "TMPDIR": str(self.folder / "temporary"),
            "EFQ_CACHE": str(self.folder / "temporary" / "cache"),
            "EFQ_FACES": "",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        }
        return subprocess.Popen(
            [sys.executable, str(TESTS / "interrupt.py"), "--here", self.command.module, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, *more: str) -> float:
        """Run it to its end, which has to be a good one; the seconds it took."""
        start = time.monotonic()
        process = self.start(*more)
        _, errors = process.communicate(timeout=DEADLINE)
        self.expect(process.returncode == 0, f"run to its end: exit code {process.returncode}, {errors[-500:]}")
        self.expect_whole("run to its end")
        return time.monotonic() - start

    def end(self, number: signal.Signals, after: float) -> bool:
        """Run it and send a signal `after` seconds of its own; whether it came before the end."""
        before = self.content()
        process = self.start(*([self.command.force] if self.older and self.command.force else []))
        if number != signal.SIGKILL:
            wait_for_handlers(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        ended = process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE)
        code, words = process.returncode, errors.splitlines()
        self.expect("Traceback" not in errors and "Exception ignored" not in errors, f"a traceback: {errors[-1500:]}")
        self.expect(code in (0, CODES[number]), f"exit code {code}: {errors[-500:]}")
        if code == CODES[number] and number != signal.SIGKILL:
            self.expect(bool(words) and words[-1] in ("interrupted", "terminated"), f"the last line: {words[-1:]}")
        self.expect(not children(self.folder, patience=5.0), "children that live on")
        if self.output is not None:
            content = self.content()
            if self.older:
                self.expect(content != "", "the older output is gone")
            if content not in ("", before):
                self.expect_whole("after the signal")
        if number != signal.SIGKILL:
            self.expect_nothing_left("after the signal")
        return ended

    def content(self) -> str:
        """Something that tells one output from another; empty for none."""
        if self.output is None or not self.output.exists():
            return ""
        files = [self.output] if self.output.is_file() else sorted(self.output.rglob("*"))
        return " ".join(f"{path.name} {path.stat().st_mtime_ns} {path.stat().st_size}" for path in files)

    def expect_whole(self, when: str) -> None:
        if self.output is None:
            return
        try:
            self.command.check(self.output)
        except Exception as error:
            self.problems.append(f"{when}: the output is not whole: {error!r}")

    def expect_nothing_left(self, when: str) -> None:
        """Nothing but inputs, outputs and what is to stay: a cache, a distillation's state, compilers' own caches."""
        found = {path.name for path in self.folder.iterdir()} - self.inputs - {"temporary", self.command.output}
        found -= {f"{self.command.output}.resume"}
        found |= {str(path) for path in (self.folder / "temporary").rglob("*.partial")}
        found |= {path.name for path in (self.folder / "temporary").iterdir()} - {"cache", "torchinductor_root"}
        self.expect(not found, f"{when} there is left: {sorted(found)}")

    def expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)


def wait_for_handlers(process: subprocess.Popen[str]) -> None:
    """Until the process catches SIGTERM: Python itself does not, so that the interpreter's start is behind it."""
    bit = 1 << (signal.SIGTERM - 1)
    while process.poll() is None:
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            caught = next(line for line in lines if line.startswith("SigCgt"))
            if int(caught.split()[1], 16) & bit:
                return
        time.sleep(0.001)


def children(folder: Path, *, patience: float) -> list[str]:
    """Processes that a run in `folder` started and that outlive it."""
    end = time.monotonic() + patience
    while found := list(_children(folder)):
        if time.monotonic() > end:
            return found
        time.sleep(0.05)
    return []


def _children(folder: Path) -> Iterator[str]:
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


def trial(name: str, number: signal.Signals, root: Path, seed: str, usual: float) -> tuple[str, list[str]]:
    """One run that is ended; what came of it, and what did not hold."""
    draw = random.Random(seed)
    command, folder = commands()[name], root / "trial"
    shutil.copytree(root / "inputs", folder)
    try:
        tried = Trial(command, folder, older=draw.random() < 0.5 and command.output != "")
        if tried.older:
            shutil.copytree(root / "finished", folder, dirs_exist_ok=True)
        ended = tried.end(number, draw.random() * usual)
        state = folder / f"{command.output}.resume"
        resumes = name == "distill" and state.exists()
        force = command.force and tried.output is not None and tried.output.exists()
        tried.finish(*(["--resume"] if resumes else []), *([command.force] if force else []))
        tried.expect_nothing_left("after the next run")
        tried.expect(not state.exists() or not resumes, "the state of a finished run stays")
        if name == "distill":
            expected = student_content(root / "finished" / "out.pt")
            tried.expect(same(student_content(folder / "out.pt"), expected), f"another student, resumed: {resumes}")
        outcome = "ended" if ended else "had finished"
        return f"{outcome}{', resumed' if resumes else ''}", tried.problems
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_trials(name: str, number: signal.Signals, count: int, seed: int) -> dict[str, int]:
    """`count` trials of a command; prints what did not hold."""
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="efq-interrupt-") as temporary:
        root, inputs = Path(temporary), Path(temporary) / "inputs"
        inputs.mkdir()
        make_inputs(inputs)
        shutil.copytree(inputs, root / "trial")
        first = Trial(commands()[name], root / "trial", older=False)
        usual = first.finish()
        (root / "finished").mkdir()
        if first.output is not None:
            shutil.move(first.output, root / "finished")
        shutil.rmtree(root / "trial")
        for problem in first.problems:
            print(f"{name}: {problem}", flush=True)
            counts["HOLE"] += 1
        for place in range(count):
            outcome, problems = trial(name, number, root, f"{seed}/{name}/{place}", usual)
            for problem in problems:
                print(f"{name} {number.name} {seed}/{place}: {problem}", flush=True)
            counts["HOLE" if problems else outcome] += 1
    return counts


def main() -> None:
    """Count; exit 1 for a hole."""
    if sys.argv[1:2] == ["--here"]:
        run_here(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", choices=[*commands(), "all"], default="all")
    parser.add_argument("--signal", choices=["INT", "TERM", "KILL"], default="INT")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    broke = False
    for name in commands() if arguments.command == "all" else [arguments.command]:
        counts = run_trials(name, signal.Signals[f"SIG{arguments.signal}"], arguments.count, arguments.seed)
        print(f"{name}: {', '.join(f'{count} {outcome}' for outcome, count in sorted(counts.items()))}", flush=True)
        broke |= "HOLE" in counts
    raise SystemExit(broke)


if __name__ == "__main__":
    main()
