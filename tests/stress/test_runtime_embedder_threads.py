"""One Embedder used by many threads at once gives the bytes of one thread."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from artifacts import random_faces

from efq.runtime import Embedder, UsageError

CALLERS = 8


@pytest.mark.parametrize("threads", [1, 2])
def test_eight_callers_get_the_bytes_of_one(tiny_artifact: Path, threads: int) -> None:
    embedder = Embedder.open(tiny_artifact, threads=threads)
    batches = [random_faces(count, seed=count) for count in (1, 2, 5, 16, 70)]
    expected = [embedder.embed(batch).tobytes() for batch in batches]
    start = threading.Barrier(CALLERS)

    def call(caller: int) -> bool:
        order = np.random.default_rng(caller).permutation(np.repeat(np.arange(len(batches)), 4))
        start.wait()
        return all(embedder.embed(batches[index]).tobytes() == expected[index] for index in order)

    with ThreadPoolExecutor(CALLERS) as pool:
        assert all(pool.map(call, range(CALLERS)))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_close_while_eight_call(tiny_artifact: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    embedder = Embedder.open(tiny_artifact, threads=2, backend=backend)
    batches = [random_faces(count, seed=count) for count in (1, 20)]
    expected = [embedder.embed(batch).tobytes() for batch in batches]
    start = threading.Barrier(CALLERS + 1)

    def call(caller: int) -> bool:
        start.wait()
        with contextlib.suppress(UsageError):
            while embedder.embed(batches[caller % 2]).tobytes() == expected[caller % 2]:
                pass
            return False
        return True

    with ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(call, caller) for caller in range(CALLERS)]
        start.wait()
        embedder.close()
        assert all(future.result() for future in calls)


def test_opening_from_many_threads_at_once(tiny_artifact: Path) -> None:
    faces = random_faces(2)
    start = threading.Barrier(CALLERS)

    def open_and_embed(_: int) -> bytes:
        start.wait()
        return Embedder.open(tiny_artifact, threads=1).embed(faces).tobytes()

    with ThreadPoolExecutor(CALLERS) as pool:
        assert len(set(pool.map(open_and_embed, range(CALLERS)))) == 1
