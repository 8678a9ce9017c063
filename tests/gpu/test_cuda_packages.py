"""The seam on a real GPU, once for each package that reaches one. Skipped where none does."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from gpus import CUDA_PACKAGES
from messages import raises_naming

from efq.runtime import DeviceError
from efq.runtime.cuda.seam import Cuda, open_cuda

if not CUDA_PACKAGES:
    pytest.skip("no package reaches a GPU", allow_module_level=True)

SIZE = 1 << 20


@pytest.fixture(params=CUDA_PACKAGES)
def cuda(request: pytest.FixtureRequest) -> Iterator[Cuda]:
    opened = open_cuda("cuda:0", request.param)
    with opened.current_device():
        yield opened


def test_properties(cuda: Cuda) -> None:
    found = cuda.properties()
    assert found.name
    assert found.compute_capability >= (5, 0)
    assert found.memory_bytes > 1 << 28
    assert found.driver_version >= (11, 0)
    assert found.runtime_version >= (11, 0)
    assert cuda.device_count() >= 1
    assert 0 < cuda.free_memory() <= found.memory_bytes
    smi = ["nvidia-smi", "-i", found.nvidia_smi_id, "--query-gpu=name", "--format=csv,noheader"]
    if found.nvidia_smi_id and shutil.which("nvidia-smi"):
        assert subprocess.run(smi, check=True, capture_output=True, text=True).stdout.strip() == found.name


def test_a_device_that_is_not_there(cuda: Cuda) -> None:
    with raises_naming(DeviceError, f"cuda:{cuda.device_count()}", "nvidia-smi -L"):
        open_cuda(f"cuda:{cuda.device_count()}", cuda.package)


def test_more_memory_than_there_is(cuda: Cuda) -> None:
    with raises_naming(DeviceError, "GPU memory", "nvidia-smi"):
        cuda.allocate(cuda.properties().memory_bytes * 4)


def test_copies_there_and_back(cuda: Cuda) -> None:
    stream, memory = cuda.create_stream(), cuda.allocate(SIZE)
    source, result = cuda.allocate_pinned(SIZE), cuda.allocate_pinned(SIZE)
    source[:] = np.random.default_rng(0).integers(0, 256, SIZE)
    result[:] = 0
    cuda.copy_to_device(memory, source, stream)
    cuda.copy_to_host(result[: SIZE // 2].view(np.float32), memory, stream)
    cuda.synchronize(stream)
    np.testing.assert_array_equal(result[: SIZE // 2], source[: SIZE // 2])
    assert not result[SIZE // 2 :].any()
    cuda.free_pinned(source)
    cuda.free_pinned(result)
    cuda.free(memory)
    cuda.destroy_stream(stream)


def test_events_keep_time(cuda: Cuda) -> None:
    stream, memory, source = cuda.create_stream(), cuda.allocate(SIZE), cuda.allocate_pinned(SIZE)
    start, end = cuda.create_event(), cuda.create_event()
    cuda.record_event(start, stream)
    for _ in range(20):
        cuda.copy_to_device(memory, source, stream)
    cuda.record_event(end, stream)
    cuda.synchronize(stream)
    assert 0 < cuda.elapsed_milliseconds(start, end) < 10_000
    for event in (start, end):
        cuda.destroy_event(event)
    cuda.free_pinned(source)
    cuda.free(memory)
    cuda.destroy_stream(stream)


def test_a_captured_copy_runs_only_when_launched_and_reads_what_is_there_then(cuda: Cuda) -> None:
    if cuda.capture_refusal is not None:
        pytest.skip(cuda.capture_refusal)
    stream, memory = cuda.create_stream(), cuda.allocate(SIZE)
    source, result = cuda.allocate_pinned(SIZE), cuda.allocate_pinned(SIZE)
    result[:] = 0
    cuda.begin_capture(stream)
    cuda.copy_to_device(memory, source, stream)
    cuda.copy_to_host(result, memory, stream)
    graph = cuda.end_capture(stream)
    cuda.synchronize(stream)
    assert not result.any()
    for value in (3, 200):
        source[:] = value
        cuda.launch_graph(graph, stream)
        cuda.synchronize(stream)
        assert (result == value).all()
    cuda.destroy_graph(graph)
    cuda.free_pinned(source)
    cuda.free_pinned(result)
    cuda.free(memory)
    cuda.destroy_stream(stream)


def test_another_thread_may_use_what_this_one_made(cuda: Cuda) -> None:
    stream, memory, array = cuda.create_stream(), cuda.allocate(SIZE), cuda.allocate_pinned(SIZE)
    array[:] = 7
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with cuda.current_device():
                cuda.copy_to_device(memory, array, stream)
                cuda.synchronize(stream)
                cuda.free_pinned(array)
                cuda.free(memory)
                cuda.destroy_stream(stream)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
