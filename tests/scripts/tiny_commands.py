"""Every command on tiny inputs, for the scripts that end commands, fill their disk or close their streams.

A run is a fork of this process, which has imported what commands import (`import_all`), or a process of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tests_folder  # noqa: F401

DEADLINE = 300.0
RECIPE = 'activation = "relu"\nsteps = 12\nidentities_per_batch = 4\ncalibration_images = 16\nfitting_images = 16\n'
_PEOPLE, _IMAGES = 8, 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A command's module, its arguments but for the output, and how to tell that the output is whole.

    option: what names the output. same_bytes: whether a run that was ended and run again, with `force`, leaves what one
    without an end does.
    """

    module: str
    arguments: tuple[str, ...]
    output: str = ""
    option: str = "-o"
    check: Callable[[Path], object] = lambda path: None
    force: tuple[str, ...] = ("--force",)
    same_bytes: bool = False


def check_student(path: Path) -> None:
    from efq.toolchain.student import load_student

    load_student(path)


def check_artifact(path: Path) -> None:
    from efq.runtime.artifact.folder import Artifact

    Artifact.open(path)


def check_embeddings(path: Path) -> None:
    import numpy as np

    with np.load(path) as content:
        assert len(content["embeddings"]) == len(content["paths"]) == _PEOPLE * _IMAGES


def check_bulk(path: Path) -> None:
    """A finished run, or one to go on with, whose shards so far are whole."""
    from efq.runtime.bulk.folder import BulkFolder
    from efq.runtime.gallery.files import read_gallery

    folder = BulkFolder(path)
    record = folder.record()
    if record is None:
        return
    if record.outcome is not None:
        assert len(read_gallery(path)) == _PEOPLE * _IMAGES
    for number in record.shards:
        assert record.outcome or not folder.shard(number).exists() or folder.outcome_of(record, number)


def check_gallery(path: Path) -> None:
    from efq.runtime.gallery.files import read_gallery

    assert read_gallery(path).record.model.name == "tiny"


def check_aligned(path: Path) -> None:
    assert len((path / "landmarks.csv").read_text().splitlines()) == _IMAGES + 1
    assert len(list(path.glob("*.png"))) == _IMAGES


def check_report(path: Path) -> None:
    json.loads((path / "report.json").read_text())
    assert (path / "report.md").stat().st_size


def check_demo(path: Path) -> None:
    assert (path / "index.html").stat().st_size
    check_artifact(path / "artifact")
    check_student(path / "student.pt")


def commands() -> dict[str, Command]:
    """Relative to the folder that `make_inputs` fills."""
    teacher = ("teacher.pt", "--backbone", "networks:teacher_network")
    faces = ("--faces", "faces")
    bulk = ("artifact", "faces", "--parquet", "--shard", "5", "--batch", "2")
    return {
        "distill": Command(
            module="efq.toolchain.distill_command",
            arguments=(*teacher, *faces, "--recipe", "tiny.toml", "--threads", "1"),
            output="out.pt",
            check=check_student,
        ),
        "export": Command(
            module="efq.export.export_command", arguments=("student.pt",), output="out", check=check_artifact
        ),
        "calibrate": Command(
            module="efq.export.export_command",
            arguments=(*teacher, "--calibrate", "faces", "--recipe", "tiny.toml"),
            output="out",
            check=check_artifact,
        ),
        "embed": Command(
            module="efq.runtime.embed_command",
            arguments=("artifact", "faces", "--threads", "1"),
            output="out.npz",
            check=check_embeddings,
            force=(),
        ),
        "bulk": Command(
            module="efq.runtime.embed_command",
            arguments=(*bulk, "--threads", "1"),
            output="out",
            check=check_bulk,
            force=("--resume",),
            same_bytes=True,
        ),
        "bulk-processes": Command(
            module="efq.runtime.embed_command",
            arguments=(*bulk, "--threads", "2"),
            output="out",
            check=check_bulk,
            force=("--resume",),
            same_bytes=True,
        ),
        "migrate": Command(
            module="efq.toolchain.migrate_command",
            arguments=("gallery.npz", "artifact", "--by", "re-embed", "--crops", "faces", "--threads", "1"),
            output="out.npz",
            check=check_gallery,
        ),
        "dual": Command(
            module="efq.toolchain.migrate_command",
            arguments=("gallery.npz", "artifact", "--by", "dual", "--crops", "faces", "--threads", "1"),
            output="out.npz",
            check=check_gallery,
        ),
        "gallery": Command(
            module="efq.runtime.gallery.stores.gallery_command",
            arguments=("people.db", "artifact"),
            output="out.npz",
            option="--export",
            check=check_gallery,
        ),
        "align": Command(
            module="efq.runtime.detection.align_command",
            arguments=("photos", "--detector", "detector.onnx", "--threads", "1"),
            output="out",
            check=check_aligned,
        ),
        "bench": Command(
            module="efq.benchmarks.bench_command",
            arguments=("exported", "--teacher", *teacher, *faces, "--rounds", "10", "--seconds", "0.1"),
            output="out",
            check=check_report,
        ),
        "demo": Command(module="efq.benchmarks.demo_command", arguments=("--quick",), output="out", check=check_demo),
        "evaluate": Command(
            module="efq.toolchain.evaluate_command", arguments=("student.pt", *faces, "--bootstrap", "9")
        ),
        "inspect": Command(module="efq.export.inspect_command", arguments=("student.pt", "--sensitivity", *faces)),
        "doctor": Command(module="efq.runtime.doctor_command", arguments=()),
        "help": Command(module="efq.toolchain.distill_command", arguments=("--help",)),
    }


def make_inputs(folder: Path) -> None:
    """Teacher, student, an artifact, one of the student, and faces, all tiny."""
    from artifacts import make_artifact
    from detectors import make_detector, write_photos
    from galleries import gallery_of, make_gallery
    from networks import make_student, make_teacher, randomize, teacher_network, write_faces

    from efq.export import export_student
    from efq.runtime.artifact.folder import Artifact
    from efq.runtime.gallery.npz import write_gallery
    from efq.runtime.gallery.stores.open import open_gallery
    from efq.toolchain.student import save_student

    make_artifact(folder / "artifact", training_data=True)
    write_gallery(folder / "gallery.npz", make_gallery(_PEOPLE, _IMAGES))
    enrolled = gallery_of(folder / "artifact", _PEOPLE, _IMAGES)
    write_gallery(folder / "people.npz", enrolled)
    with open_gallery(folder / "people.db", Artifact.open(folder / "artifact")) as people:
        people.add(enrolled)
    make_teacher(folder / "teacher.pt")
    write_faces(folder / "faces", _PEOPLE, _IMAGES)
    make_detector(folder / "detector.onnx", size=320)
    write_photos(folder / "photos", [f"{place}.png" for place in range(_IMAGES)])
    student = make_student(randomize(teacher_network()), size=112)
    save_student(student, folder / "student.pt")
    export_student(student, "ort-cpu", folder / "exported", bits=8)
    (folder / "tiny.toml").write_text(RECIPE)


def import_all() -> None:
    """Import what commands import, and nothing that starts a thread or handles a signal."""
    libraries = ("efq.runtime", "torch", "torch._dynamo", "onnx", "onnx_ir", "onnxruntime", "openvino")
    for name in (*libraries, "matplotlib.pyplot", "rich.console", "artifacts", "detectors", "galleries", "networks"):
        importlib.import_module(name)
    for command in commands().values():
        importlib.import_module(command.module)
    for name in ("benchmarks.bench", "benchmarks.demo.chain", "export.exporter", "export.inspection", "export.plan"):
        importlib.import_module(f"efq.{name}")
    for name in ("distillation", "networks", "student", "teachers", "lowering.quantization.sensitivity"):
        importlib.import_module(f"efq.toolchain.{name}")


def run_here(module: str, arguments: Sequence[str]) -> None:
    """A command in this process, by its door; a distillation keeps its state after every step, a demo is tiny."""
    from efq.runtime.commands import entry

    if module == "efq.toolchain.distill_command":
        from efq.toolchain.distillation.trainer import Trainer

        Trainer.run.__kwdefaults__["checkpoint_seconds"] = 0.0
    if module == "efq.benchmarks.demo_command":
        _shrink_demo()
    sys.argv = ["efq", *arguments]
    entry.run(module)


def _shrink_demo() -> None:
    from efq.benchmarks.demo import settings
    from efq.benchmarks.demo.teacher import TeacherSettings
    from efq.benchmarks.drawn_faces.dataset import DatasetSize

    quick = settings.QUICK
    settings.QUICK = dataclasses.replace(
        quick,
        dataset=DatasetSize(train_identities=4, dev_identities=20, views=2, pairs_per_fold=2),
        teacher=TeacherSettings(steps=2, identities_per_batch=4),
        drawn_recipe=dataclasses.replace(quick.drawn_recipe, steps=2, identities_per_batch=4, calibration_images=8),
        seconds=0.01,
        resamples=3,
    )


class Run:
    """A command that runs in a process of its own, in `folder`.

    `new`: in a new interpreter, and not in a fork of this process. `before`: called in the fork before anything else.
    """

    def __init__(
        self,
        command: Command,
        more: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str],
        new: bool = False,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        self.returncode: int | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        ready, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                os.close(ready)
                code = self._in_child(command, [*command.arguments, *more], folder, environment, new, tell, before)
            except BaseException:
                import traceback

                os.write(self._errors.fileno(), traceback.format_exc().encode())
            finally:
                os._exit(code)
        os.close(tell)
        self._ready = ready

    def _in_child(
        self,
        command: Command,
        words: list[str],
        folder: Path,
        environment: Mapping[str, str],
        new: bool,
        tell: int,
        before: Callable[[], object],
    ) -> int:
        os.chdir(folder)
        os.environ.update(environment)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)  # a shell's `&` and nohup have them ignored
        nowhere = os.open(os.devnull, os.O_RDWR)
        for place, descriptor in enumerate((nowhere, nowhere, self._errors.fileno())):
            os.dup2(descriptor, place)
        if new:
            os.set_inheritable(tell, False)  # closed, which is the word, when the interpreter starts
            before()
            os.execv(sys.executable, [sys.executable, __file__, command.module, *words])
        tempfile.tempdir = None
        sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
        from efq.runtime.commands import entry

        del entry  # handlers of signals came with it
        before()
        os.close(tell)
        try:
            run_here(command.module, words)
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        return 0

    def wait_until_ready(self) -> None:
        """Until its handlers of signals are there."""
        os.read(self._ready, 1)
        while self._ready >= 0 and self.poll() is None and not _catches(self.pid, signal.SIGTERM):
            time.sleep(0.001)

    def poll(self) -> int | None:
        """Its exit code, minus a signal's number, or None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._end(status)
        return self.returncode

    def wait(self, seconds: float) -> int | None:
        """As `poll`, after its end or so many seconds."""
        if self.returncode is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                select.select([descriptor], [], [], seconds)
            finally:
                os.close(descriptor)
        return self.poll()

    def finish(self) -> tuple[int, str]:
        """Its exit code and what it wrote to stderr; it is killed after the deadline."""
        if self.wait(DEADLINE) is None:
            self.send_signal(signal.SIGKILL)
            self._end(os.waitpid(self.pid, 0)[1])
            self.returncode = 124
        assert self.returncode is not None
        self._errors.seek(0)
        errors = self._errors.read().decode(errors="replace")
        self._errors.close()
        os.close(self._ready)
        return self.returncode, errors

    def send_signal(self, number: signal.Signals) -> None:
        """Send it, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _end(self, status: int) -> None:
        self.returncode = os.waitstatus_to_exitcode(status)


class Watched:
    """A command whose output is in `folder`, and what did not hold of its runs."""

    def __init__(self, command: Command, folder: Path) -> None:
        self.command = command
        self.output = folder / command.output if command.output else None
        self.problems: list[str] = []

    def content(self) -> str:
        """Something that tells one output from another; empty for none."""
        if self.output is None or not self.output.exists():
            return ""
        files = [self.output] if self.output.is_file() else sorted(self.output.rglob("*"))
        return " ".join(f"{path.name} {path.stat().st_mtime_ns} {path.stat().st_size}" for path in files)

    def expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)

    def expect_words(self, errors: str, place: str = "") -> None:
        """No traceback in what it wrote to stderr."""
        found = "Traceback" in errors or "Exception ignored" in errors
        self.expect(not found, f"a traceback{place}: {errors[-1500:]}")

    def expect_whole(self, when: str) -> None:
        if self.output is None:
            return
        try:
            self.command.check(self.output)
        except Exception as error:
            self.problems.append(f"{when}: the output is not whole: {error!r}")


def in_a_fork(function: Callable[..., Any], *arguments: Any) -> None:
    """Call it in another process, so that this one stays without threads. Raises RuntimeError if that fails."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function(*arguments)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        message = f"{function} failed"
        raise RuntimeError(message)


def _catches(pid: int, number: signal.Signals) -> bool:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((line for line in lines if line.startswith("SigCgt")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) & 1 << (number - 1))


if __name__ == "__main__":
    run_here(sys.argv[1], sys.argv[2:])
