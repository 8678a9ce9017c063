"""A GPU made of NumPy arrays that is as strict as a GPU is not.

Work on a stream only happens when it is synchronized; memory must be alive, large enough and, on the host, pinned;
a thread must have made the device current; a stream belongs to one thread until it is synchronized.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.cuda.seam import DevicePointer, DeviceProperties, Event, Graph, Stream
from efq.runtime.errors import DeviceError

Operation = Callable[[], None]


@dataclasses.dataclass
class FakeStream:
    pending: list[Operation] = dataclasses.field(default_factory=list)
    captured: list[Operation] | None = None
    capture_is_broken: bool = False
    thread: int | None = None


class FakeCuda:
    """`efq.runtime.cuda.seam.Cuda` without a GPU. `history` lists (call, what it was about) in order."""

    package = "fake"
    ordinal = 0
    capture_refusal: str | None = None

    def __init__(self, memory_bytes: int = 1 << 30) -> None:
        self.memory_bytes = memory_bytes
        self.history: list[tuple[str, Any]] = []
        self.failures: dict[str, DeviceError] = {}  # the next call of this name raises it
        self.is_broken = False  # as after an illegal address: everything fails
        self.peak: dict[str, int] = {}
        self._lock = threading.RLock()
        self._handles = itertools.count(1)
        self._device: dict[int, NDArray[np.uint8]] = {}
        self._pinned: dict[int, NDArray[np.uint8]] = {}
        self._streams: dict[int, FakeStream] = {}
        self._events: dict[int, float] = {}
        self._graphs: dict[int, list[Operation]] = {}
        self._clock = 0.0
        self._current = threading.local()

    def device_count(self) -> int:
        return 1

    def properties(self) -> DeviceProperties:
        return DeviceProperties(
            name="Fake",
            compute_capability=(8, 6),
            memory_bytes=self.memory_bytes,
            driver_version=(13, 0),
            runtime_version=(13, 0),
        )

    @contextlib.contextmanager
    def current_device(self) -> Iterator[None]:
        self._current.depth = getattr(self._current, "depth", 0) + 1
        try:
            yield
        finally:
            self._current.depth -= 1

    def create_stream(self) -> Stream:
        with self._call("create_stream"):
            handle = next(self._handles)
            self._streams[handle] = FakeStream()
            return Stream(handle)

    def destroy_stream(self, stream: Stream) -> None:
        with self._call("destroy_stream", stream):
            assert not self._streams.pop(stream).pending

    def synchronize(self, stream: Stream) -> None:
        with self._call("synchronize", stream):
            state = self._streams[stream]
            if state.captured is not None:
                state.capture_is_broken = True
                message = "expected cudaStreamSynchronize to succeed, found cudaErrorStreamCaptureUnsupported; none"
                raise DeviceError(message)
            operations, state.pending = state.pending, []
            state.thread = None
            for operation in operations:
                operation()

    def allocate(self, size: int) -> DevicePointer:
        with self._call("allocate", size):
            assert size > 0
            if sum(memory.nbytes for memory in self._device.values()) + size > self.memory_bytes:
                message = "expected cudaMalloc to succeed, found cudaErrorMemoryAllocation: out of memory; none"
                raise DeviceError(message)
            pointer = next(self._handles) << 32
            self._device[pointer] = np.full(size, 0xA5, np.uint8)
            return DevicePointer(pointer)

    def free(self, pointer: DevicePointer) -> None:
        with self._call("free", pointer):
            assert not any(state.pending for state in self._streams.values() if state.thread == threading.get_ident())
            del self._device[pointer]

    def free_memory(self) -> int:
        with self._call("free_memory"):
            return self.memory_bytes - sum(memory.nbytes for memory in self._device.values())

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        with self._call("allocate_pinned", size):
            assert size > 0
            array = np.full(size, 0xA5, np.uint8)
            self._pinned[array.ctypes.data] = array
            return array

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        with self._call("free_pinned", array.ctypes.data):
            del self._pinned[array.ctypes.data]

    def copy_to_device(self, destination: DevicePointer, source: NDArray[Any], stream: Stream) -> None:
        with self._call("copy_to_device", stream):
            pinned = self._pinned_bytes(source)
            memory = self.memory(destination, source.nbytes)
            self.enqueue(stream, lambda: np.copyto(memory, pinned))

    def copy_to_host(self, destination: NDArray[Any], source: DevicePointer, stream: Stream) -> None:
        with self._call("copy_to_host", stream):
            pinned = self._pinned_bytes(destination)
            memory = self.memory(source, destination.nbytes)
            self.enqueue(stream, lambda: np.copyto(pinned, memory))

    def create_event(self) -> Event:
        with self._call("create_event"):
            handle = next(self._handles)
            self._events[handle] = -1.0
            return Event(handle)

    def destroy_event(self, event: Event) -> None:
        with self._call("destroy_event", event):
            del self._events[event]

    def record_event(self, event: Event, stream: Stream) -> None:
        with self._call("record_event", stream):
            self.enqueue(stream, lambda: self._happen(event))

    def elapsed_milliseconds(self, start: Event, end: Event) -> float:
        assert min(self._events[start], self._events[end]) >= 0, "an event has not happened"
        return self._events[end] - self._events[start]

    def begin_capture(self, stream: Stream) -> None:
        with self._call("begin_capture", stream):
            assert self._streams[stream].captured is None
            self._streams[stream].captured = []

    def end_capture(self, stream: Stream) -> Graph:
        state = self._streams[stream]
        assert state.captured is not None
        operations, state.captured = state.captured, None  # it ends, whether or not it went well
        with self._call("end_capture", stream):
            if state.capture_is_broken:
                state.capture_is_broken = False
                message = "expected cudaStreamEndCapture to succeed, found cudaErrorStreamCaptureInvalidated; none"
                raise DeviceError(message)
            handle = next(self._handles)
            self._graphs[handle] = operations
            return Graph(handle)

    def launch_graph(self, graph: Graph, stream: Stream) -> None:
        with self._call("launch_graph", stream):
            for operation in self._graphs[graph]:
                self.enqueue(stream, operation)

    def destroy_graph(self, graph: Graph) -> None:
        with self._call("destroy_graph", graph):
            del self._graphs[graph]

    # What the fake engine needs and the tests look at.

    def enqueue(self, stream: int, operation: Operation) -> None:
        with self._lock:
            state = self._streams[stream]
            assert state.thread in (None, threading.get_ident()), "two threads on one stream"
            if state.captured is not None:
                state.captured.append(operation)
            else:
                state.thread = threading.get_ident()
                state.pending.append(operation)

    def is_capturing(self, stream: int) -> bool:
        return self._streams[stream].captured is not None

    def break_capture(self, stream: int) -> None:
        self._streams[stream].capture_is_broken = True

    def memory(self, pointer: int, size: int) -> NDArray[np.uint8]:
        """The first `size` bytes at a device pointer, which must be alive and have as many."""
        with self._lock:
            assert pointer in self._device, "device memory that was freed or never allocated"
            assert self._device[pointer].nbytes >= size, "device memory is too small"
            return self._device[pointer][:size]

    def live(self) -> dict[str, int]:
        """How many resources of each kind exist."""
        kinds = {
            "device": self._device,
            "pinned": self._pinned,
            "streams": self._streams,
            "events": self._events,
            "graphs": self._graphs,
        }
        return {name: len(values) for name, values in kinds.items()}

    def count(self, call: str) -> int:
        return sum(name == call for name, _ in self.history)

    def arguments(self, call: str) -> list[Any]:
        return [argument for name, argument in self.history if name == call]

    @contextlib.contextmanager
    def _call(self, name: str, argument: Any = None) -> Iterator[None]:
        assert getattr(self._current, "depth", 0) > 0, f"{name} outside current_device()"
        with self._lock:
            self.history.append((name, argument))
            if name in self.failures:
                raise self.failures.pop(name)
            if self.is_broken:
                message = f"expected {name} to succeed, found cudaErrorIllegalAddress; restart the process"
                raise DeviceError(message)
            yield
            for kind, number in self.live().items():
                self.peak[kind] = max(self.peak.get(kind, 0), number)

    def spend(self, milliseconds: float) -> None:
        """Let the work of a stream take GPU time."""
        self._clock += milliseconds

    def _happen(self, event: int) -> None:
        self._clock += 0.5
        self._events[event] = self._clock

    def _pinned_bytes(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        assert array.flags.c_contiguous
        address = array.ctypes.data
        assert address in self._pinned, "host memory that is not pinned, or was freed"
        assert self._pinned[address].nbytes >= array.nbytes
        return self._pinned[address][: array.nbytes]
