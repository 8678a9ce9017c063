"""CUDA through cuda-python: the runtime API of `cuda.bindings`."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.cuda.failures import device_error
from efq.runtime.cuda.seam import Cuda, DevicePointer, DeviceProperties, Event, Graph, Stream, check_ordinal
from efq.runtime.errors import MissingDependencyError


def open_device(ordinal: int) -> Cuda:
    """Open GPU number `ordinal`. Raises MissingDependencyError without the package, DeviceError without the GPU."""
    try:
        import cuda.bindings.runtime as runtime
    except (ImportError, OSError, RuntimeError) as error:  # a library that does not load is any of these
        message = f"cuda-python does not load ({error}); install it with: pip install 'cuda-python>=12.6'"
        raise MissingDependencyError(message) from error
    cuda = CudaPython(runtime, ordinal)
    check_ordinal(ordinal, cuda.device_count())
    return cuda


class CudaPython:
    """`efq.runtime.cuda.seam.Cuda` by `cuda.bindings.runtime`."""

    package = "cuda-python"
    capture_refusal = None

    def __init__(self, runtime: Any, ordinal: int) -> None:
        self._runtime = runtime
        self.ordinal = ordinal

    def device_count(self) -> int:
        return int(self._call(self._runtime.cudaGetDeviceCount))

    def properties(self) -> DeviceProperties:
        found = self._call(self._runtime.cudaGetDeviceProperties, self.ordinal)
        return DeviceProperties(
            name=bytes(found.name).split(b"\0")[0].decode(),
            compute_capability=(int(found.major), int(found.minor)),
            memory_bytes=int(found.totalGlobalMem),
            driver_version=_version(self._call(self._runtime.cudaDriverGetVersion)),
            runtime_version=_version(self._call(self._runtime.cudaRuntimeGetVersion)),
            nvidia_smi_id=f"{found.pciDomainID:08x}:{found.pciBusID:02x}:{found.pciDeviceID:02x}.0",
        )

    @contextlib.contextmanager
    def current_device(self) -> Iterator[None]:
        before = self._call(self._runtime.cudaGetDevice)
        self._call(self._runtime.cudaSetDevice, self.ordinal)
        try:
            yield
        finally:
            self._call(self._runtime.cudaSetDevice, before)

    def create_stream(self) -> Stream:
        return Stream(int(self._call(self._runtime.cudaStreamCreateWithFlags, self._runtime.cudaStreamNonBlocking)))

    def destroy_stream(self, stream: Stream) -> None:
        self._call(self._runtime.cudaStreamDestroy, stream)

    def synchronize(self, stream: Stream) -> None:
        self._call(self._runtime.cudaStreamSynchronize, stream)

    def allocate(self, size: int) -> DevicePointer:
        return DevicePointer(int(self._call(self._runtime.cudaMalloc, size)))

    def free(self, pointer: DevicePointer) -> None:
        self._call(self._runtime.cudaFree, pointer)

    def free_memory(self) -> int:
        return int(self._call(self._runtime.cudaMemGetInfo))

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        address = int(self._call(self._runtime.cudaMallocHost, size))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        self._call(self._runtime.cudaFreeHost, array.ctypes.data)

    def copy_to_device(self, destination: DevicePointer, source: NDArray[Any], stream: Stream) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call(self._runtime.cudaMemcpyAsync, destination, source.ctypes.data, source.nbytes, kind, stream)

    def copy_to_host(self, destination: NDArray[Any], source: DevicePointer, stream: Stream) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call(self._runtime.cudaMemcpyAsync, destination.ctypes.data, source, destination.nbytes, kind, stream)

    def create_event(self) -> Event:
        return Event(int(self._call(self._runtime.cudaEventCreate)))

    def destroy_event(self, event: Event) -> None:
        self._call(self._runtime.cudaEventDestroy, event)

    def record_event(self, event: Event, stream: Stream) -> None:
        self._call(self._runtime.cudaEventRecord, event, stream)

    def elapsed_milliseconds(self, start: Event, end: Event) -> float:
        return float(self._call(self._runtime.cudaEventElapsedTime, start, end))

    def begin_capture(self, stream: Stream) -> None:
        # Thread-local: another thread may allocate memory meanwhile.
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call(self._runtime.cudaStreamBeginCapture, stream, mode)

    def end_capture(self, stream: Stream) -> Graph:
        captured = self._call(self._runtime.cudaStreamEndCapture, stream)
        try:
            return Graph(int(self._call(self._runtime.cudaGraphInstantiate, captured, 0)))
        finally:
            self._call(self._runtime.cudaGraphDestroy, captured)

    def launch_graph(self, graph: Graph, stream: Stream) -> None:
        self._call(self._runtime.cudaGraphLaunch, graph, stream)

    def destroy_graph(self, graph: Graph) -> None:
        self._call(self._runtime.cudaGraphExecDestroy, graph)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function gives beside its status, which is checked."""
        try:
            status, *values = function(*arguments)
        except RuntimeError as error:  # the bindings' own, for a library or symbol that is not there
            raise device_error(function.__name__, str(error)) from error
        if status != self._runtime.cudaError_t.cudaSuccess:
            text = self._runtime.cudaGetErrorString(status)[1]
            raise device_error(function.__name__, f"{status.name}: {bytes(text).decode()}")
        return values[0] if values else None


def _version(number: int) -> tuple[int, int]:
    """CUDA writes 12.6 as 12060."""
    return number // 1000, number % 1000 // 10
