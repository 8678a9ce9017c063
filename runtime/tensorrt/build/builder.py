"""Build an engine in a process of its own, with progress, and read what its layers run in."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from efq.runtime.artifact.folder import LARGEST_MODEL
from efq.runtime.cleanup import running
from efq.runtime.errors import EngineBuildError, InputError, MissingDependencyError, UsageError, error_class
from efq.runtime.files import atomic_write_bytes, cache_folder
from efq.runtime.progress import Progress, ShowProgress, no_progress
from efq.runtime.reading import sha256_file
from efq.runtime.tensorrt.build.layers import Layer, layers_of_inspector, layers_of_log
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.module import import_tensorrt

PLAN_FILE, LOG_FILE, INSPECTOR_FILE = "model.plan", "build.log", "inspector.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuiltEngine:
    """A plan in `folder`, with its build log: the TensorRT version, seconds it took, and the layers it consists of."""

    folder: Path
    version: str
    seconds: float
    layers: tuple[Layer, ...]

    @property
    def plan(self) -> Path:
        return self.folder / PLAN_FILE


def build_engine(
    target: str,
    model: Path,
    folder: Path,
    options: BuildOptions,
    *,
    device: str = "cuda:0",
    timing_cache: Path | None = None,
    timeout: float | None = None,
    progress: ShowProgress = no_progress,
) -> BuiltEngine:
    """Build the engine of the ONNX file `model` into the existing `folder`: plan, build log, inspector's JSON.

    `device` is the GPU that `trt` builds on and for; `timing_cache` is read and written by `trt`. Raises
    MissingDependencyError without the target's package, EngineBuildError when TensorRT refuses the graph, fails,
    crashes or takes more than `timeout` seconds, DeviceError without the GPU it needs (both messages name a copy of
    the log in `$EFQ_CACHE`), UsageError for options the package does not have.
    """
    import_tensorrt(target)
    request = {
        "target": target,
        "onnx": str(model.resolve()),
        "plan": str(folder / PLAN_FILE),
        "log": str(folder / LOG_FILE),
        "layers": str(folder / INSPECTOR_FILE),
        "options": options.to_dict(),
        "device": device,
        "timing_cache": None if timing_cache is None else str(timing_cache.resolve()),
    }
    start = time.monotonic()
    with progress(f"building an engine for {target}", None, "steps") as bar:
        result = _run(request, bar, timeout)
    return BuiltEngine(
        folder=folder,
        version=result["version"],
        seconds=time.monotonic() - start,
        layers=_read_layers(folder, inspected=result["inspected"]),
    )


def _run(request: dict[str, Any], bar: Progress, timeout: float | None) -> dict[str, Any]:
    """The {"done"} of the build process; every other end is an error."""
    command = [sys.executable, "-m", "efq.runtime.tensorrt.build.process"]
    deadline = None if timeout is None else time.monotonic() + timeout
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process,
        running(process),
    ):
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request))
            process.stdin.close()
        last = _follow(process, bar, deadline)
    code = process.wait()
    if "done" in last:
        result: dict[str, Any] = last["done"]
        return result
    if "error" in last:
        kind = error_class(last["kind"])
        explained = issubclass(kind, UsageError | MissingDependencyError)
        raise kind(last["error"] if explained else f"{last['error']} ({_keep_log(request)})")
    message = (
        f"expected the builder to end with an engine or a reason, found that it {_end_of(code)}: a graph that "
        f"crashes it? The last lines of its log ({_keep_log(request)}):\n{_tail(Path(request['log']))}"
    )
    raise EngineBuildError(message)


def _follow(process: subprocess.Popen[str], bar: Progress, deadline: float | None) -> dict[str, Any]:
    """Show the process's progress to its end; its last message, or the {"error"} that it takes too long."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read_lines, args=(process, lines), daemon=True).start()
    last: dict[str, Any] = {}
    while True:
        try:
            line = lines.get(timeout=None if deadline is None else max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            message = "expected the builder to end in the time allowed, found it still at work: allow more time"
            return {"error": message, "kind": EngineBuildError.__name__}
        if line is None:
            process.wait()
            return last
        try:
            message_ = json.loads(line)
        except ValueError:
            continue  # a library's own print
        if not isinstance(message_, dict):
            continue
        last = message_
        if "phase" in last:
            bar.advance(0, phase=str(last["phase"]))
        elif "step" in last:
            bar.advance(1)


def _read_lines(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _end_of(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"died of {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _keep_log(request: dict[str, Any]) -> str:
    """Where a copy of the log is that outlives the folder of a build that failed, in words.

    One file for a graph, target and options, which the next failure replaces.
    """
    try:
        facts = {key: request[key] for key in ("target", "options", "device")}
        facts["onnx"] = sha256_file(Path(request["onnx"]), limit=LARGEST_MODEL, expected="a model")
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        kept = cache_folder() / "build-logs" / f"{name}.log"
        atomic_write_bytes(kept, Path(request["log"]).read_bytes())
    except (OSError, InputError, UsageError) as error:
        return f"its build log is not kept: {error}"
    return f"build log: {kept}"


def _tail(log: Path, lines: int = 5) -> str:
    try:
        content = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "(no log was written)"
    return "\n".join(f"  {line[:300]}" for line in content[-lines:])


def _read_layers(folder: Path, *, inspected: bool) -> tuple[Layer, ...]:
    if inspected:
        return layers_of_inspector((folder / INSPECTOR_FILE).read_text(encoding="utf-8"))
    return layers_of_log((folder / LOG_FILE).read_text(encoding="utf-8"))
