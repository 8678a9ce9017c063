"""CUDA through torch, where nothing else is installed: its streams, caching allocators and graphs.

The runtime never imports torch: it finds `open_device` as the entry point `torch` of the group `efq.cuda`.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.cuda.failures import device_error
from efq.runtime.cuda.seam import Cuda, DevicePointer, DeviceProperties, Event, Graph, Stream, check_ordinal
from efq.runtime.errors import DeviceError, MissingDependencyError

_POOL_STREAMS = 32  # torch hands out this many streams of a device in turn, then the same ones again


def open_device(ordinal: int) -> Cuda:
    """Open GPU number `ordinal`. Raises MissingDependencyError without a CUDA torch, DeviceError without the GPU."""
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:  # a library that does not load is any of these
        message = f"torch does not load ({error}); install it as https://pytorch.org says"
        raise MissingDependencyError(message) from error
    if torch.version.cuda is None:
        message = (
            f"torch {torch.__version__} is built without CUDA; install the build for it as https://pytorch.org says"
        )
        raise MissingDependencyError(message)
    with _checked("torch.cuda.init"):
        torch.cuda.init()  # type: ignore[no-untyped-call]
        count = torch.cuda.device_count()
    check_ordinal(ordinal, count)
    return TorchCuda(torch, ordinal)


class TorchCuda:
    """`efq.runtime.cuda.seam.Cuda` by `torch.cuda`. At most 32 streams at once: torch has no more to give."""

    package = "torch"
    capture_refusal = None

    def __init__(self, torch: Any, ordinal: int) -> None:
        self._torch = torch
        self.ordinal = ordinal
        self._device = torch.device("cuda", ordinal)
        self._objects: dict[int, Any] = {}  # handle or address -> the object of torch that owns it
        self._captures: dict[int, tuple[Any, contextlib.ExitStack]] = {}

    def device_count(self) -> int:
        with _checked("cudaGetDeviceCount"):
            return int(self._torch.cuda.device_count())

    def properties(self) -> DeviceProperties:
        with _checked("cudaGetDeviceProperties"):
            found = self._torch.cuda.get_device_properties(self._device)
        runtime_version = str(self._torch.version.cuda).split(".")
        return DeviceProperties(
            name=str(found.name),
            compute_capability=(int(found.major), int(found.minor)),
            memory_bytes=int(found.total_memory),
            driver_version=_driver_version(),
            runtime_version=(int(runtime_version[0]), int(runtime_version[1])),
            nvidia_smi_id=f"GPU-{found.uuid}" if hasattr(found, "uuid") else "",
        )

    @contextlib.contextmanager
    def current_device(self) -> Iterator[None]:
        with self._torch.cuda.device(self._device):
            yield

    def create_stream(self) -> Stream:
        with _checked("cudaStreamCreateWithPriority"):
            for _ in range(_POOL_STREAMS):
                stream = self._torch.cuda.Stream(self._device)
                if stream.cuda_stream not in self._objects:
                    return Stream(self._keep(int(stream.cuda_stream), stream))
        message = f"expected at most {_POOL_STREAMS} streams through torch, found all in use; install cuda-python"
        raise DeviceError(message)

    def destroy_stream(self, stream: Stream) -> None:
        self._objects.pop(stream)

    def synchronize(self, stream: Stream) -> None:
        with _checked("cudaStreamSynchronize"):
            self._objects[stream].synchronize()

    def allocate(self, size: int) -> DevicePointer:
        with _checked("cudaMalloc"):
            tensor = self._torch.empty(size, dtype=self._torch.uint8, device=self._device)
            return DevicePointer(self._keep(int(tensor.data_ptr()), tensor))

    def free(self, pointer: DevicePointer) -> None:
        self._objects.pop(pointer)

    def free_memory(self) -> int:
        with _checked("cudaMemGetInfo"):
            return int(self._torch.cuda.mem_get_info(self._device)[0])

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        with _checked("cudaHostAlloc"):
            tensor = self._torch.empty(size, dtype=self._torch.uint8, pin_memory=True)
            self._keep(int(tensor.data_ptr()), tensor)
            array: NDArray[np.uint8] = tensor.numpy()
            return array

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        self._objects.pop(array.ctypes.data)

    def copy_to_device(self, destination: DevicePointer, source: NDArray[Any], stream: Stream) -> None:
        self._copy(destination, source.ctypes.data, source.nbytes, stream)

    def copy_to_host(self, destination: NDArray[Any], source: DevicePointer, stream: Stream) -> None:
        self._copy(destination.ctypes.data, source, destination.nbytes, stream)

    def create_event(self) -> Event:
        event = self._torch.cuda.Event(enable_timing=True)
        return Event(self._keep(id(event), event))

    def destroy_event(self, event: Event) -> None:
        self._objects.pop(event)

    def record_event(self, event: Event, stream: Stream) -> None:
        with _checked("cudaEventRecord"):
            self._objects[event].record(self._objects[stream])

    def elapsed_milliseconds(self, start: Event, end: Event) -> float:
        with _checked("cudaEventElapsedTime"):
            return float(self._objects[start].elapsed_time(self._objects[end]))

    def begin_capture(self, stream: Stream) -> None:
        graph = self._torch.cuda.CUDAGraph()
        with contextlib.ExitStack() as stack, _checked("cudaStreamBeginCapture"):
            stack.enter_context(self._torch.cuda.stream(self._objects[stream]))
            # Thread-local: another thread may allocate memory meanwhile.
            graph.capture_begin(capture_error_mode="thread_local")
            self._captures[stream] = graph, stack.pop_all()

    def end_capture(self, stream: Stream) -> Graph:
        graph, stack = self._captures.pop(stream)
        with stack, _checked("cudaStreamEndCapture"):
            graph.capture_end()
        return Graph(self._keep(id(graph), graph))

    def launch_graph(self, graph: Graph, stream: Stream) -> None:
        with _checked("cudaGraphLaunch"), self._torch.cuda.stream(self._objects[stream]):
            self._objects[graph].replay()

    def destroy_graph(self, graph: Graph) -> None:
        with _checked("cudaGraphExecDestroy"):
            self._objects.pop(graph).reset()

    def _copy(self, destination: int, source: int, size: int, stream: Stream) -> None:
        with _checked("cudaMemcpyAsync"), self._torch.cuda.stream(self._objects[stream]):
            self._objects[destination][:size].copy_(self._objects[source][:size], non_blocking=True)

    def _keep(self, handle: int, owner: Any) -> int:
        self._objects[handle] = owner
        return handle


def _driver_version() -> tuple[int, int]:
    """torch does not tell it: asked of the driver itself."""
    version, call = ctypes.c_int(), "cuDriverGetVersion"
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        raise device_error(call, f"no NVIDIA driver ({error})") from error
    driver.cuDriverGetVersion(ctypes.byref(version))
    return version.value // 1000, version.value % 1000 // 10


@contextlib.contextmanager
def _checked(call: str) -> Iterator[None]:
    """Turn torch's errors, all of them RuntimeError, into DeviceError."""
    try:
        yield
    except RuntimeError as error:
        raise device_error(call, str(error).strip().split("\n")[0]) from error
