"""CUDA through pycuda: the driver API on the GPU's primary context, which TensorRT, torch and ONNX Runtime share.

`pycuda.autoinit` is never imported: it makes a context of its own, in which no one else's memory is valid.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.cuda.failures import device_error
from efq.runtime.cuda.seam import Cuda, DevicePointer, DeviceProperties, Event, Graph, Stream, check_ordinal
from efq.runtime.errors import DeviceError, MissingDependencyError

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


def open_device(ordinal: int) -> Cuda:
    """Open GPU number `ordinal`. Raises MissingDependencyError without the package, DeviceError without the GPU."""
    try:
        import pycuda.driver as driver
    except (ImportError, OSError, RuntimeError) as error:  # without libcuda it does not load either
        message = f"pycuda does not load ({error}); install the NVIDIA driver and: pip install pycuda"
        raise MissingDependencyError(message) from error
    with _checked(driver, "cuInit"):
        driver.init()
        count = driver.Device.count()
    check_ordinal(ordinal, count)
    return PyCuda(driver, ordinal)


class PyCuda:
    """`efq.runtime.cuda.seam.Cuda` by `pycuda.driver`. pycuda 2026.1 has no CUDA graphs."""

    package = "pycuda"
    capture_refusal = "pycuda cannot capture CUDA graphs; install cuda-python for them"

    def __init__(self, driver: Any, ordinal: int) -> None:
        self._driver = driver
        self.ordinal = ordinal
        self._objects: dict[int, Any] = {}  # handle or address -> the object of pycuda that owns it
        with _checked(driver, "cuDevicePrimaryCtxRetain"):
            self._device = driver.Device(ordinal)
            self._context = self._device.retain_primary_context()

    def device_count(self) -> int:
        with _checked(self._driver, "cuDeviceGetCount"):
            return int(self._driver.Device.count())

    def properties(self) -> DeviceProperties:
        with _checked(self._driver, "cuDeviceGetAttribute"):
            driver_version = int(self._driver.get_driver_version())
            major, minor = self._device.compute_capability()
            return DeviceProperties(
                name=str(self._device.name()),
                compute_capability=(int(major), int(minor)),
                memory_bytes=int(self._device.total_memory()),
                driver_version=(driver_version // 1000, driver_version % 1000 // 10),
                runtime_version=(int(self._driver.get_version()[0]), int(self._driver.get_version()[1])),
                nvidia_smi_id=str(self._device.pci_bus_id()),
            )

    @contextlib.contextmanager
    def current_device(self) -> Iterator[None]:
        with _checked(self._driver, "cuCtxPushCurrent"):
            self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def create_stream(self) -> Stream:
        with _checked(self._driver, "cuStreamCreate"):
            stream = self._driver.Stream(_NON_BLOCKING)
            return Stream(self._keep(int(stream.handle), stream))

    def destroy_stream(self, stream: Stream) -> None:
        self._objects.pop(stream)  # pycuda destroys it with its last reference

    def synchronize(self, stream: Stream) -> None:
        with _checked(self._driver, "cuStreamSynchronize"):
            self._objects[stream].synchronize()

    def allocate(self, size: int) -> DevicePointer:
        with _checked(self._driver, "cuMemAlloc"):
            allocation = self._driver.mem_alloc(size)
            return DevicePointer(self._keep(int(allocation), allocation))

    def free(self, pointer: DevicePointer) -> None:
        with _checked(self._driver, "cuMemFree"):
            self._objects.pop(pointer).free()

    def free_memory(self) -> int:
        with _checked(self._driver, "cuMemGetInfo"):
            return int(self._driver.mem_get_info()[0])

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        with _checked(self._driver, "cuMemHostAlloc"):
            array: NDArray[np.uint8] = self._driver.pagelocked_empty(size, np.uint8)
            self._keep(array.ctypes.data, array.base)
            return array

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        with _checked(self._driver, "cuMemFreeHost"):
            self._objects.pop(array.ctypes.data).free()

    def copy_to_device(self, destination: DevicePointer, source: NDArray[Any], stream: Stream) -> None:
        with _checked(self._driver, "cuMemcpyHtoDAsync"):
            self._driver.memcpy_htod_async(int(destination), source, self._objects[stream])

    def copy_to_host(self, destination: NDArray[Any], source: DevicePointer, stream: Stream) -> None:
        with _checked(self._driver, "cuMemcpyDtoHAsync"):
            self._driver.memcpy_dtoh_async(destination, int(source), self._objects[stream])

    def create_event(self) -> Event:
        with _checked(self._driver, "cuEventCreate"):
            event = self._driver.Event()
            return Event(self._keep(id(event), event))

    def destroy_event(self, event: Event) -> None:
        self._objects.pop(event)

    def record_event(self, event: Event, stream: Stream) -> None:
        with _checked(self._driver, "cuEventRecord"):
            self._objects[event].record(self._objects[stream])

    def elapsed_milliseconds(self, start: Event, end: Event) -> float:
        with _checked(self._driver, "cuEventElapsedTime"):
            return float(self._objects[end].time_since(self._objects[start]))

    def begin_capture(self, stream: Stream) -> None:
        raise DeviceError(self.capture_refusal)

    def end_capture(self, stream: Stream) -> Graph:
        raise DeviceError(self.capture_refusal)

    def launch_graph(self, graph: Graph, stream: Stream) -> None:
        raise DeviceError(self.capture_refusal)

    def destroy_graph(self, graph: Graph) -> None:
        raise DeviceError(self.capture_refusal)

    def _keep(self, handle: int, owner: Any) -> int:
        self._objects[handle] = owner
        return handle


@contextlib.contextmanager
def _checked(driver: Any, call: str) -> Iterator[None]:
    """Turn pycuda's errors into DeviceError."""
    try:
        yield
    except driver.Error as error:
        raise device_error(call, str(error)) from error
