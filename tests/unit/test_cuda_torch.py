"""What TorchCuda does beside calling torch, on real tensors of the CPU: torch's CUDA calls themselves need a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gpus import CUDA_PACKAGES
from messages import raises_naming

from efq.runtime import DeviceError
from efq.toolchain.torch_cuda import TorchCuda, _driver_version


class Graph:
    """Notes the stream that was current at each step."""

    def __init__(self, torch_: TorchStandIn) -> None:
        self.torch = torch_
        self.steps: list[tuple[str, int]] = []

    def capture_begin(self, *, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local"
        self._step("begin")

    def capture_end(self) -> None:
        self._step("end")

    def replay(self) -> None:
        self._step("replay")

    def reset(self) -> None:
        self.steps.append(("reset", 0))

    def _step(self, name: str) -> None:
        self.steps.append((name, self.torch.current[-1]))
        if self.torch.failing == name:
            message = "CUDA error: operation not permitted when stream is capturing\nmore lines"
            raise RuntimeError(message)


class TorchStandIn(SimpleNamespace):
    """The names of torch that TorchCuda uses: tensors are real, streams come round after 32 as torch's do."""

    def __init__(self) -> None:
        self.current = [0]
        self.failing = ""
        self.graphs: list[Graph] = []
        self.made = 0
        cuda = SimpleNamespace(Stream=self._stream, CUDAGraph=self._graph, stream=self._on, device=self._on)
        super().__init__(uint8=torch.uint8, device=torch.device, empty=self._empty, cuda=cuda)

    def _empty(self, size: int, **options: Any) -> torch.Tensor:
        return torch.empty(size, dtype=options["dtype"])

    def _stream(self, _: Any) -> SimpleNamespace:
        self.made += 1
        return SimpleNamespace(cuda_stream=1 + (self.made - 1) % 32)

    def _graph(self) -> Graph:
        self.graphs.append(Graph(self))
        return self.graphs[-1]

    @contextlib.contextmanager
    def _on(self, stream: Any) -> Iterator[None]:
        self.current.append(getattr(stream, "cuda_stream", 0))
        try:
            yield
        finally:
            self.current.pop()


@pytest.mark.skipif(bool(CUDA_PACKAGES), reason="this machine has a GPU: tests/gpu runs on it")
def test_no_driver_has_no_version() -> None:
    with raises_naming(DeviceError, "NVIDIA driver", "nvidia-smi"):
        _driver_version()


@pytest.fixture
def stand_in() -> TorchStandIn:
    return TorchStandIn()


@pytest.fixture
def cuda(stand_in: TorchStandIn) -> TorchCuda:
    return TorchCuda(stand_in, 0)


def test_copies_are_of_the_size_of_the_array(cuda: TorchCuda) -> None:
    stream, memory = cuda.create_stream(), cuda.allocate(16)
    source, result = cuda.allocate_pinned(16), cuda.allocate_pinned(16)
    source[:] = np.arange(16)
    result[:] = 99
    cuda.copy_to_device(memory, source[:8], stream)
    cuda.copy_to_host(result[:8].view(np.float32), memory, stream)
    assert result.tolist() == [*range(8), *[99] * 8]


def test_what_was_freed_is_forgotten(cuda: TorchCuda) -> None:
    stream, memory, array = cuda.create_stream(), cuda.allocate(16), cuda.allocate_pinned(16)
    cuda.free(memory)
    with pytest.raises(KeyError):
        cuda.copy_to_device(memory, array, stream)
    cuda.free_pinned(array)
    cuda.destroy_stream(stream)


def test_no_stream_is_given_twice_and_freed_ones_come_again(cuda: TorchCuda) -> None:
    streams = [cuda.create_stream() for _ in range(32)]
    assert len(set(streams)) == 32
    with raises_naming(DeviceError, 32, "streams"):
        cuda.create_stream()
    cuda.destroy_stream(streams[7])
    assert cuda.create_stream() == streams[7]


def test_graphs_are_captured_and_replayed_on_the_stream(cuda: TorchCuda, stand_in: TorchStandIn) -> None:
    stream = cuda.create_stream()
    cuda.begin_capture(stream)
    assert stand_in.current == [0, stream]
    graph = cuda.end_capture(stream)
    assert stand_in.current == [0]
    cuda.launch_graph(graph, stream)
    cuda.destroy_graph(graph)
    assert stand_in.graphs[0].steps == [("begin", stream), ("end", stream), ("replay", stream), ("reset", 0)]


@pytest.mark.parametrize("step", ["begin", "end"])
def test_a_failed_capture_leaves_the_stream_of_before(cuda: TorchCuda, stand_in: TorchStandIn, step: str) -> None:
    stream = cuda.create_stream()
    stand_in.failing = step
    if step == "end":
        cuda.begin_capture(stream)
    call = f"cudaStream{step.title()}Capture"
    with raises_naming(DeviceError, call, "operation not permitted when stream is capturing") as caught:
        cuda.begin_capture(stream) if step == "begin" else cuda.end_capture(stream)
    assert "more lines" not in str(caught.value)
    assert stand_in.current == [0]
