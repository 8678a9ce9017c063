"""Where the time of EFQ's own kernels goes, beside the other runtimes: `python -m efq.benchmarks.timing.native_layers`.

The backends are timed in turn in each round, so that what else runs on the machine is the same for all: in CPU time of
the process on one thread, in wall time on several. With --sets EFQ's own kernels of several instruction sets are timed
so, without an embedder, on one thread.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.timing.latency import SETTLE_SECONDS, time_in_turn
from efq.runtime import Embedder
from efq.runtime.artifact.model_check import check_model
from efq.runtime.backends.choice import random_images
from efq.runtime.native.compile import compile_plan
from efq.runtime.native.fusion import Layer, fuse
from efq.runtime.native.library import Memory, NativePlan
from efq.runtime.native.steps import Plan, Step

PROFILES = 50


@dataclasses.dataclass(frozen=True)
class _Embedding:
    """What is timed of an embedder: one call."""

    embedder: Embedder

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        return images

    def run(self, prepared: NDArray[Any]) -> object:
        return self.embedder.embed(prepared)


@dataclasses.dataclass(frozen=True)
class _Set:
    """What is timed of an instruction set: a run of its plan."""

    plan: NativePlan
    memory: Memory

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        return images

    def run(self, prepared: NDArray[Any]) -> object:
        return self.plan.run(self.memory, prepared)


def sets_in_turn(plan: Plan, sets: Sequence[str], images: NDArray[np.uint8], *, rounds: int) -> NDArray[np.float64]:
    """Seconds of CPU time of a run with `images` uint8 (N, H, W, 3) on one thread, (rounds, sets)."""
    plans = {name: NativePlan(plan, name) for name in sets}
    candidates = {name: _Set(native, native.new_memory()) for name, native in plans.items()}
    times = time_in_turn(candidates, [images], rounds=rounds, settle=0.0, clock=time.process_time)
    return np.array([times[name] for name in sets]).T


def times_in_turn(
    artifact: Path, backends: Sequence[str], images: NDArray[np.uint8], *, threads: int, rounds: int
) -> NDArray[np.float64]:
    """Seconds of a call with `images` uint8 (N, H, W, 3) on so many threads, (rounds, backends)."""
    clock, settle = (time.process_time, 0.0) if threads == 1 else (time.perf_counter, SETTLE_SECONDS)
    with contextlib.ExitStack() as opened:
        candidates = {
            name: _Embedding(opened.enter_context(Embedder.open(artifact, threads=threads, backend=name)))
            for name in backends
        }
        times = time_in_turn(candidates, [images], rounds=rounds, settle=settle, clock=clock)
    return np.array([times[name] for name in backends]).T


def seconds_by_kind(plan: Plan, image: NDArray[np.uint8]) -> dict[str, tuple[int, float, int]]:
    """Of each kind of layer: how many there are, their seconds, and their multiply-adds."""
    native = NativePlan(plan)
    memory = native.new_memory()
    profiles = [native.profile(memory, image) for _ in range(PROFILES)]
    found: dict[str, tuple[int, float, int]] = collections.defaultdict(lambda: (0, 0.0, 0))
    for step, seconds in zip(plan.steps, np.median(profiles, axis=0), strict=True):
        count, total, products = found[_kind(step)]
        work = int(getattr(getattr(step, "convolution", step), "multiply_adds", 0))
        found[_kind(step)] = count + 1, total + float(seconds), products + work
    return dict(sorted(found.items(), key=lambda item: -item[1][1]))


def _kind(step: Step) -> str:
    if not isinstance(step, Layer):
        return type(step).__name__.lower()
    layer = step.convolution
    rows, columns = layer.window.kernel
    name = f"{'depthwise' if layer.groups > 1 else 'convolution'} {rows}x{columns}, stride {layer.window.strides[0]}"
    return f"{name}{', PReLU' if step.slopes is not None else ''}{', sum' if step.sum else ''}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both: times an image beside the first backend's, and those of the layers, for one image on one thread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--backends", nargs="+", default=["native", "onnxruntime"])
    parser.add_argument("--sets", nargs="+", help="instruction sets to time instead, as efq-doctor names them")
    parser.add_argument("--batch", type=int, default=1, help="images of a call")
    parser.add_argument("--threads", type=int, default=1, help="of a call")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args(arguments)
    path = options.artifact / "model.onnx"
    plan = fuse(compile_plan(check_model(path.read_bytes(), path)))
    with Embedder.open(options.artifact, threads=1, backend=options.backends[0]) as embedder:
        drawn = random_images(embedder.contract)
    images = drawn[np.arange(options.batch) % len(drawn)]
    names = options.sets or options.backends
    if options.sets:
        times = sets_in_turn(plan, names, images, rounds=options.rounds)
    else:
        times = times_in_turn(options.artifact, names, images, threads=options.threads, rounds=options.rounds)
    for place, name in enumerate(names):
        ratios = np.quantile(times[:, place] / times[:, 0], [0.25, 0.5, 0.75])
        milliseconds = np.median(times[:, place]) * 1e3 / options.batch
        print(f"{name:12s} {milliseconds:7.3f} ms, {ratios[1]:.2f} x (quartiles {ratios[0]:.2f}, {ratios[2]:.2f})")
    for kind, (count, seconds, work) in seconds_by_kind(plan, drawn[0]).items():
        print(f"{count:3d} {kind:40s} {seconds * 1e6:8.1f} us, {work / seconds / 1e9:6.1f} multiply-adds a nanosecond")


if __name__ == "__main__":
    main()
