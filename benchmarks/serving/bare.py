"""The embedder without a service: `python -m efq.benchmarks.serving.bare ARTIFACT FACES.npy SECONDS BATCH BACKEND`.

Prints images a second, and the milliseconds of the processor that one took.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from efq.runtime import Embedder


def measure(directory: str, faces_file: str, seconds: float, batch: int, backend: str) -> dict[str, float]:
    """One thread, one call after another, with `batch` images each."""
    faces = np.load(faces_file)
    batches = [faces[(np.arange(batch) + start) % len(faces)] for start in range(len(faces))]
    with Embedder.open(directory, threads=1, backend=backend) as embedder:
        for one in batches[:8]:
            embedder.embed(one)
        count, cpu, start = 0, time.process_time(), time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            embedder.embed(batches[count % len(batches)])
            count += 1
        images = count * batch
        return {"rate": images / elapsed, "cpu_ms": (time.process_time() - cpu) * 1e3 / images}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5])))
