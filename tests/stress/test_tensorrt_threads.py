"""One TensorRTModel used by many threads at once gives the bytes of one thread."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import SHAPE, make_module, make_plan

from efq.runtime import DeviceError, UsageError
from efq.runtime.tensorrt.run.model import TensorRTModel

CALLERS = 16
CALLS = 25
LARGEST = 90


@pytest.mark.parametrize("contexts", [1, 3, CALLERS])
@pytest.mark.parametrize("form", ["10.3", "rtx"])
def test_sixteen_callers_get_the_bytes_of_one(contexts: int, form: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (LARGEST, *SHAPE), dtype=np.uint8)
    alone = FakeCuda()
    expected = TensorRTModel(make_plan(), module=make_module(alone, form), cuda=alone).run(images).tobytes()
    row = len(expected) // LARGEST
    cuda = FakeCuda()
    model = TensorRTModel(make_plan(), module=make_module(cuda, form), cuda=cuda, contexts=contexts)
    start = threading.Barrier(CALLERS)

    def call(caller: int) -> bool:
        generator = np.random.default_rng(caller)
        start.wait()
        for _ in range(CALLS):
            first, last = sorted(generator.choice(LARGEST + 1, 2, replace=False))
            if model.run(images[first:last]).tobytes() != expected[first * row : last * row]:
                return False
        return True

    with ThreadPoolExecutor(CALLERS) as pool:
        assert all(pool.map(call, range(CALLERS)))
    assert cuda.peak["streams"] <= contexts
    assert (cuda.count("begin_capture") > 0) == (form == "10.3")
    model.close()
    assert set(cuda.live().values()) == {0}


def test_failures_of_some_calls_do_not_reach_the_others() -> None:
    images = np.random.default_rng(0).integers(0, 256, (LARGEST, *SHAPE), dtype=np.uint8)
    cuda = FakeCuda()
    model = TensorRTModel(make_plan(), module=make_module(cuda), cuda=cuda, contexts=3)
    expected = model.run(images).tobytes()
    failing = ("copy_to_device", "copy_to_host", "synchronize", "allocate", "allocate_pinned", "launch_graph")
    start = threading.Barrier(CALLERS)

    def call(caller: int) -> tuple[int, int]:
        generator = np.random.default_rng(caller)
        right = failed = 0
        start.wait()
        for _ in range(CALLS):
            if caller == 0:
                cuda.failures[str(generator.choice(failing))] = DeviceError("injected")
            count = int(generator.integers(1, LARGEST + 1))
            try:
                result = model.run(images[:count]).tobytes()
            except DeviceError:
                failed += 1
            else:
                assert result == expected[: len(result)]
                right += 1
        return right, failed

    with ThreadPoolExecutor(CALLERS) as pool:
        counts = list(pool.map(call, range(CALLERS)))
    assert sum(failed for _, failed in counts) > 0
    assert sum(right for right, _ in counts) > CALLERS * CALLS // 2
    cuda.failures.clear()
    assert model.run(images).tobytes() == expected
    model.close()
    assert set(cuda.live().values()) == {0}


def test_close_while_sixteen_call() -> None:
    images = np.random.default_rng(0).integers(0, 256, (LARGEST, *SHAPE), dtype=np.uint8)
    cuda = FakeCuda()
    model = TensorRTModel(make_plan(), module=make_module(cuda), cuda=cuda, contexts=3)
    expected = model.run(images).tobytes()
    start = threading.Barrier(CALLERS + 1)

    def call(_: int) -> bool:
        start.wait()
        with contextlib.suppress(UsageError):
            while model.run(images).tobytes() == expected:
                pass
            return False
        return True

    with ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(call, caller) for caller in range(CALLERS)]
        start.wait()
        model.close()
        assert all(future.result() for future in calls)
    assert set(cuda.live().values()) == {0}
