"""Run commands with random options: `python tests/scripts/fuzz_options.py --count 2000 --seed 0`.

Each run is in this process, on tiny inputs, with up to four options of extreme values; a service has a process of its
own, which is told to end as soon as it serves. It has to end in time with an exit code of EFQ, without a traceback,
with what it was given unchanged and no temporary file. What does not hold is printed with its seed; the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click
import tests_folder  # noqa: F401
from click.testing import CliRunner
from counting import print_counts

CODES = {0, 1, 2, 3, 4, 5, 130}
SERVE = "efq-serve"
DEADLINE = 60
NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "3",
    "1.5",
    "1e20",
    "9" * 20,
    "9" * 5000,
    "nan",
    "inf",
    "-inf",
    "",
    " ",
    "x",
    "0x1",
    "٣",
)
FRACTIONS = ("0", "-1", "0.5", "1", "2", "nan", "inf", "-inf", "1e-320", "1e400", "1e20", "", "x", "0,5")
TEXTS = (
    *("", " ", "\n", "a\nb", "a" * 5000, "é", "\x1b[31m", "-", "--", "*", "[", "%s", "{0}"),
    *("sys:exit", "os:getcwd", "os:environ", "builtins:int", "torch.nn:Module", "torch.nn:Identity", "torch.nn:Linear"),
    *(":", "x:", ":x", ".a:b", "a:b:c", "os.path:join", "networks:teacher_network", "networks:nothing", "iresnet18"),
    *("auto", "onnxruntime", "openvino", "tensorrt", "cpu", "cuda", "cuda:99", "cuda:-1", "cuda:", "cpu:1", "tpu"),
    *("ort-cpu", "trt", "trt-rtx", "mixed", "prelu", "tiny.toml", "broken.toml", "missing.toml", "fifo.toml", "faces"),
    *("1,8,32", "1,,2", ",", "0", "-1", "1" * 30, ",".join("1" * 50), "8,1,64", "1,8,64", "1,8", "²"),
)
PATHS = (
    *("", " ", ".", "..", "/", "~", "missing", "missing/deep", "teacher.pt", "student.pt", "artifact", "faces"),
    *("faces/p0/0.png", "list.txt", "pairs.txt", "tiny.toml", "empty", "empty.txt", "fifo", "loop", "to-artifact"),
    *("/dev/null", "/dev/zero", "/dev/stdout", "/proc/self/mem", "file/below", "a" * 300, "a\0b", "new"),
    *("artifact/model.onnx", "artifact/new", "new.npz", "new/deep/out", "gallery.npz", "people.npz", "people.db"),
    *("set.bin", "faces.tar", "records", "records/train.rec", "ijb", "ijb/meta", "photos", "detector.onnx"),
)
LONG = {  # options whose extreme values are fine, and take long
    "rounds": ("0", "-1", "1", "nan", ""),
    "seconds": ("0", "-1", "0.001", "nan", "inf", "1e20", ""),
    "resamples": ("0", "-1", "3", "1e20", ""),
    "steps": ("0", "-1", "1", "1e20", "9" * 30),
    "peers": (),
    "drain_delay": ("0", "-1", "0.1", "601", "nan", ""),
    "ray": ("", " ", "x", "a\nb", "host:", ":1", "a" * 300),
    "threads": ("0", "-1", "1", "1e20", "9" * 20, "1025", "", "x"),
}

ON_A_SERVER = "postgresql://127.0.0.1:1/faces"
"""Stands for a gallery on a server that the run starts; where there is none, nobody listens there."""


def commands() -> dict[str, tuple[click.Command, tuple[str, ...]]]:
    """Every command with options that make it run, in the folder that `make_inputs` fills."""
    from efq.benchmarks import bench_command, demo_command
    from efq.export import export_command, inspect_command
    from efq.runtime import doctor_command, embed_command
    from efq.runtime.detection import align_command
    from efq.runtime.gallery import index_command
    from efq.runtime.gallery.stores import gallery_command
    from efq.runtime.service import serve_command
    from efq.toolchain import distill_command, evaluate_command, migrate_command

    teacher = ("teacher.pt", "--backbone", "networks:teacher_network")
    faces = ("--faces", "faces")
    return {
        "distill": (distill_command.main, (*teacher, *faces, "--recipe", "tiny.toml", "-o", "out")),
        "evaluate": (evaluate_command.main, ("student.pt", *faces, "--bootstrap", "3")),
        "evaluate artifact": (evaluate_command.main, ("artifact", *faces, "--bootstrap", "3")),
        "evaluate figures": (
            evaluate_command.main,
            ("artifact", "--faces", "records", "--bootstrap", "3", "--threshold", "0.9", "--search"),
        ),
        "evaluate pairs": (evaluate_command.main, ("artifact", "--pairs", "set.bin", "--bootstrap", "3")),
        "evaluate list": (
            evaluate_command.main,
            ("artifact", *faces, "--pairs", "faces/pairs.txt", "--bootstrap", "3"),
        ),
        "evaluate ijb": (evaluate_command.main, ("artifact", "--ijb", "ijb")),
        "gallery": (gallery_command.main, ("new.db", "artifact", "--import", "people.npz")),
        "index": (index_command.main, (ON_A_SERVER, "artifact", "--by", "hnsw")),
        "index off": (index_command.main, (ON_A_SERVER, "artifact", "--by", "none")),
        "serve": (serve_command.main, ("artifact", "--threads", "1", "--port", "0")),
        "serve people": (
            serve_command.main,
            ("artifact", "--gallery", "people.db", "--detector", "detector.onnx", "--threads", "1", "--port", "0"),
        ),
        "align": (align_command.main, ("photos", "--detector", "detector.onnx", "-o", "out")),
        "export": (export_command.main, ("student.pt", "-o", "out")),
        "calibrate": (export_command.main, (*teacher, "--calibrate", "faces", "-o", "out")),
        "inspect": (inspect_command.main, ("student.pt",)),
        "sensitivity": (inspect_command.main, ("student.pt", "--sensitivity", *faces)),
        "embed": (embed_command.main, ("artifact", "faces", "-o", "out")),
        "embed parquet": (
            embed_command.main,
            ("artifact", "faces", "-o", "out", "--parquet", "--shard", "5", "--threads", "1"),
        ),
        "migrate": (
            migrate_command.main,
            ("gallery.npz", "artifact", "--by", "re-embed", "--crops", "faces", "-o", "out"),
        ),
        "migrate plan": (migrate_command.main, ("gallery.npz", "artifact", "--crops", "faces")),
        "doctor": (doctor_command.main, ()),
        "bench": (
            bench_command.main,
            ("artifact", "--teacher", *teacher, *faces, "--rounds", "1", "--seconds", "0.01", "-o", "out"),
        ),
        "demo": (demo_command.main, ("-o", "student.pt")),
    }


def make_inputs(folder: Path) -> None:
    """Teacher, student, artifact and faces, all tiny, and odd files beside them."""
    import itertools

    from ijb_folder import Row, write_ijb
    from networks import draw_faces
    from packed_faces import faces_of, folder_members, write_recordio, write_tar
    from packed_pairs import write_set
    from tiny_commands import import_all
    from tiny_commands import make_inputs as make_good_ones

    import_all()
    make_good_ones(folder)
    (folder / "list.txt").write_text("p0/0.png\np0/1.png\np1/0.png\np1/1.png\n")
    (folder / "pairs.txt").write_text("faces/p0/0.png\tfaces/p0/1.png\t1\nfaces/p0/0.png\tfaces/p1/0.png\t0\n")
    (folder / "tiny.toml").write_text('activation = "relu"\nsteps = 1\nidentities_per_batch = 4\n')
    (folder / "broken.toml").write_text("steps = nan\n")
    packed = faces_of(folder / "faces")
    members = folder_members(packed)
    write_recordio(folder / "records", packed)
    write_tar(folder / "faces.tar", members)
    couples = [*itertools.pairwise(members), *zip(members, list(members)[3:], strict=False)]
    same = [one[:2] == other[:2] for one, other in couples]
    write_set(folder / "set.bin", [members[key] for couple in couples for key in couple], same)
    lines = [f"{one} {other} {int(is_same)}\n" for (one, other), is_same in zip(couples, same, strict=True)]
    (folder / "faces" / "pairs.txt").write_text("".join(lines))
    rows = [
        Row(name=f"{place}.png", template=place // 2 + 1, media=place % 2, face=face, score=0.9)
        for place, face in enumerate(draw_faces(4, 16))
    ]
    people = {template: (template - 1) // 8 for template in range(1, 33)}
    probes = {template: person for template, person in people.items() if template % 8 != 1}
    pairs = [(one, other, int(people[one] == people[other])) for one, other in itertools.combinations(people, 2)]
    write_ijb(folder / "ijb", rows, pairs=pairs, galleries=({1: 0, 9: 1}, {17: 2, 25: 3}), probes=probes)
    (folder / "empty").mkdir()
    for name in ("empty.txt", "file"):
        (folder / name).write_text("")
    for name in ("fifo", "fifo.toml"):
        os.mkfifo(folder / name)
    (folder / "loop").symlink_to("loop")
    (folder / "to-artifact").symlink_to("artifact")


def values_of(parameter: click.Parameter, draw: random.Random) -> list[str]:
    """The words of one option with an extreme value, none for one that is not to be tried."""
    name = parameter.name or ""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return [] if LONG.get(name) == () else [draw.choice((*parameter.opts, *parameter.secondary_opts))]
    kind = parameter.type
    if name in LONG:
        pool = LONG[name]
    elif isinstance(kind, click.types.IntParamType):
        pool = NUMBERS
    elif isinstance(kind, click.types.FloatParamType):
        pool = FRACTIONS
    elif isinstance(kind, click.Path):
        pool = PATHS
    else:
        pool = (*TEXTS, *NUMBERS) if isinstance(kind, click.types.StringParamType) else TEXTS
    value = draw.choice(pool)
    return [value] if isinstance(parameter, click.Argument) else [draw.choice(parameter.opts), value]


def words_of(command: click.Command, usual: tuple[str, ...], draw: random.Random) -> list[str]:
    """The usual options with some others, or with one of the usual words replaced."""
    words = list(usual)
    if words and draw.random() < 0.15:
        place = draw.randrange(len(words))
        if not words[place].startswith("-"):
            words[place] = draw.choice((*PATHS, *TEXTS))
    for parameter in draw.sample(command.params, min(draw.choice((0, 1, 1, 1, 2, 4)), len(command.params))):
        words += values_of(parameter, draw)
    if "demo" in (command.name or ""):
        words += ["-o", "student.pt"]  # the chain itself takes a minute
    return words


class _TooLong(BaseException):
    """A run did not end in time."""


@contextlib.contextmanager
def in_time(seconds: int) -> Iterator[None]:
    """Raise _TooLong after so long."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with what tells that it was not written to."""
    found = sorted(path for path in folder.rglob("*") if not path.is_relative_to(folder / "cache"))
    status = {str(path.relative_to(folder)): path.lstat() for path in found}
    return {name: (at.st_mode, 0 if stat.S_ISDIR(at.st_mode) else at.st_mtime_ns) for name, at in status.items()}


def remove_new(folder: Path, before: dict[str, tuple[int, int]]) -> None:
    """Remove what a run wrote."""
    from efq.runtime.writing.partials import remove

    for path in sorted(folder.rglob("*"), reverse=True):
        if str(path.relative_to(folder)) not in before and not path.is_relative_to(folder / "cache"):
            remove(path)


def invoke(command: click.Command, words: list[str], deadline: int) -> tuple[int, str, str, str]:
    """Run a command in this process: exit code, what it wrote to both streams, to stderr alone, and an exception."""
    with in_time(deadline):
        result = CliRunner().invoke(command, words)
    error = result.exception
    raised = "" if error is None or isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
    return result.exit_code, result.output, result.stderr, raised


def serve(command: click.Command, words: list[str], deadline: int) -> tuple[int, str, str, str]:
    """As `invoke`, in a process that is told to end once it serves; it may log then."""
    arguments = [sys.executable, "-m", "efq.runtime.service.serve_command", *(word.replace("\0", "") for word in words)]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace") as process,
    ):
        assert process.stdout is not None
        watchdog = threading.Timer(deadline, process.kill)
        watchdog.start()
        first = process.stdout.readline()
        if first.startswith("serving "):
            process.terminate()
        output = first + process.stdout.read()
        code = process.wait()
        watchdog.cancel()
        if code == -signal.SIGKILL:
            raise _TooLong
        errors.seek(0)
        return code, output, errors.read(), ""


def made_gallery() -> str:
    """The address of a gallery on a server of this run; `ON_A_SERVER` where the server's package is not installed."""
    from postgresql import new_place, programs

    if programs() is None:
        return ON_A_SERVER
    place = new_place()
    from efq.runtime.gallery.stores import gallery_command

    done = CliRunner().invoke(gallery_command.main, [place, "artifact", "--import", "people.npz"])
    assert done.exit_code == 0, done.output
    return place


def problems_of(
    command: click.Command, words: list[str], before: dict[str, tuple[int, int]], *, deadline: int = DEADLINE
) -> tuple[str, list[str]]:
    """Run it here, in the current folder; its exit code, and what did not hold."""
    problems = []
    try:
        code, output, errors, raised = (serve if command.name == SERVE else invoke)(command, words, deadline)
    except _TooLong:
        return "too long", [f"not at its end after {deadline} s"]
    if raised:
        problems.append(raised)
    elif code not in CODES:
        problems.append(f"exit code {code}: {errors[-200:]}")
    elif code and "rror: " not in errors:
        problems.append(f"exit code {code} without a word on stderr: {output[-200:]}")
    if "Traceback" in output + errors:
        problems.append("a traceback in the output")
    here = Path.cwd()
    after = state_of(here)
    changed = sorted(name for name in before if after.get(name, (0, 0)) != before[name])
    if changed:
        problems.append(f"changed {changed[:3]}")
    if left := sorted(name for name in set(after) - set(before) if name.endswith((".partial", ".previous"))):
        problems.append(f"left {left[:3]}")
    return str(code), problems


def main(arguments: list[str] | None = None) -> int:
    """Count; 1 for a hole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", default="all", help="One of them, or those that begin so: demo, evaluate ...")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--deadline", type=int, default=DEADLINE, help="Seconds of one run.")
    chosen = parser.parse_args(arguments)
    table = {
        name: run for name, run in commands().items() if chosen.command == "all" or name.startswith(chosen.command)
    }
    counts: collections.Counter[str] = collections.Counter()
    before_all, environment = Path.cwd(), os.environ.copy()
    with tempfile.TemporaryDirectory(prefix="efq-fuzz-") as temporary:
        folder = Path(temporary) / "work"
        folder.mkdir()
        os.environ["EFQ_CACHE"], os.environ["EFQ_FACES"] = str(folder / "cache"), ""
        make_inputs(folder)
        os.chdir(folder)
        before = state_of(folder)
        try:
            on_a_server = made_gallery() if any(ON_A_SERVER in usual for _, usual in table.values()) else ON_A_SERVER
            for place in range(chosen.count):
                draw = random.Random(f"{chosen.seed}/{place}")
                name = draw.choice(list(table))
                command, usual = table[name]
                words = [on_a_server if word == ON_A_SERVER else word for word in words_of(command, usual, draw)]
                code, problems = problems_of(command, words, before, deadline=chosen.deadline)
                for problem in problems:
                    print(f"{chosen.seed}/{place} {name}: {shlex.join(words)!a:.300}: {problem}", flush=True)
                counts["HOLE" if problems else f"exit code {code}"] += 1
                remove_new(folder, before)
        finally:
            os.chdir(before_all)
            os.environ.clear()
            os.environ.update(environment)
    print_counts(counts)
    return int("HOLE" in counts)


if __name__ == "__main__":
    raise SystemExit(main())
