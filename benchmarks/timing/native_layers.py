"""Where the time of EFQ's own kernels goes, beside the other runtimes: `python -m efq.benchmarks.timing.native_layers`.

CPU time of the process, the backends in turn in each round, so that what else runs on the machine is the same for all.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime import Embedder
from efq.runtime.artifact.model_check import check_model
from efq.runtime.backends.choice import random_images
from efq.runtime.native.compile import compile_plan
from efq.runtime.native.fusion import Layer, fuse
from efq.runtime.native.library import NativePlan
from efq.runtime.native.steps import Plan, Step

CALLS = 4  # of one backend in a round
PROFILES = 50


def times_in_turn(
    artifact: Path, backends: Sequence[str], image: NDArray[np.uint8], rounds: int
) -> NDArray[np.float64]:
    """Seconds of CPU time of one image uint8 (1, H, W, 3) on one thread, (rounds, backends)."""
    times = np.zeros((rounds, len(backends)))
    with contextlib.ExitStack() as opened:
        embedders = [opened.enter_context(Embedder.open(artifact, threads=1, backend=name)) for name in backends]
        for number in range(rounds):
            for place, embedder in enumerate(embedders):
                embedder.embed(image)
                start = time.process_time()
                for _ in range(CALLS):
                    embedder.embed(image)
                times[number, place] = (time.process_time() - start) / CALLS
    return times


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
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--backends", nargs="+", default=["native", "onnxruntime"])
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args(arguments)
    path = options.artifact / "model.onnx"
    plan = fuse(compile_plan(check_model(path.read_bytes(), path)))
    with Embedder.open(options.artifact, threads=1, backend=options.backends[0]) as embedder:
        image = random_images(embedder.contract)[:1]
    times = times_in_turn(options.artifact, options.backends, image, options.rounds)
    for place, backend in enumerate(options.backends):
        ratios = np.quantile(times[:, place] / times[:, 0], [0.25, 0.5, 0.75])
        milliseconds = np.median(times[:, place]) * 1e3
        print(f"{backend:12s} {milliseconds:7.3f} ms, {ratios[1]:.2f} x (quartiles {ratios[0]:.2f}, {ratios[2]:.2f})")
    for kind, (count, seconds, work) in seconds_by_kind(plan, image[0]).items():
        print(f"{count:3d} {kind:40s} {seconds * 1e6:8.1f} us, {work / seconds / 1e9:6.1f} multiply-adds a nanosecond")


if __name__ == "__main__":
    main()
