"""What EFQ needs of CUDA, and nothing more, so that any of three packages can give it."""

from __future__ import annotations

import dataclasses
import os
import re
from contextlib import AbstractContextManager
from typing import Any, NewType, Protocol

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import DeviceError, MissingDependencyError, UsageError

DevicePointer = NewType("DevicePointer", int)
Stream = NewType("Stream", int)
Event = NewType("Event", int)
Graph = NewType("Graph", int)

PACKAGES = ("cuda-python", "pycuda", "torch")
ENTRY_POINTS = "efq.cuda"  # the group in which each package names its `open_device`


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceProperties:
    """A GPU. `driver_version` is the CUDA version its driver serves, not the driver's own number.

    `nvidia_smi_id` is what `nvidia-smi -i` knows the GPU by, whatever CUDA_VISIBLE_DEVICES says; empty when not told.
    """

    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    driver_version: tuple[int, int]
    runtime_version: tuple[int, int]
    nvidia_smi_id: str = ""

    @property
    def sm(self) -> str:
        """The compute capability as NVIDIA's compilers write it: (8, 6) is "sm_86"."""
        return "sm_{}{}".format(*self.compute_capability)


class Cuda(Protocol):
    """One GPU through one package.

    All methods may be called from any thread, but those from `create_stream` on only inside `current_device()` of
    that thread. Handles are plain integers, as TensorRT takes them. Every method raises DeviceError when CUDA does.
    """

    @property
    def package(self) -> str:
        """cuda-python, pycuda or torch."""

    @property
    def ordinal(self) -> int:
        """N of `cuda:N`."""

    @property
    def capture_refusal(self) -> str | None:
        """Why this package cannot capture CUDA graphs, or None where it can."""

    def device_count(self) -> int:
        """The number of GPUs CUDA sees."""

    def properties(self) -> DeviceProperties:
        """Name, compute capability, memory and CUDA versions of the GPU."""

    def current_device(self) -> AbstractContextManager[None]:
        """Make the GPU's primary context current in the calling thread; afterwards, the one that was."""

    def create_stream(self) -> Stream:
        """A stream that does not wait for the default stream."""

    def destroy_stream(self, stream: Stream) -> None:
        """Destroy a stream on which nothing is pending."""

    def synchronize(self, stream: Stream) -> None:
        """Wait for everything enqueued on the stream. Errors of kernels appear here."""

    def allocate(self, size: int) -> DevicePointer:
        """`size` bytes, above zero, of GPU memory, aligned to 256 bytes at least."""

    def free(self, pointer: DevicePointer) -> None:
        """Free what `allocate` gave; nothing that uses it may be pending."""

    def free_memory(self) -> int:
        """Bytes of GPU memory that nobody holds, neither this process nor another."""

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """`size` bytes, above zero, of page-locked host memory, which copies do not block on."""

    def free_pinned(self, array: NDArray[np.uint8]) -> None:
        """Free what `allocate_pinned` gave; neither the array nor a view of it may be used again."""

    def copy_to_device(self, destination: DevicePointer, source: NDArray[Any], stream: Stream) -> None:
        """Enqueue a copy of a contiguous array that starts where a pinned one does."""

    def copy_to_host(self, destination: NDArray[Any], source: DevicePointer, stream: Stream) -> None:
        """Enqueue a copy that fills a contiguous array that starts where a pinned one does."""

    def create_event(self) -> Event:
        """An event that keeps time."""

    def destroy_event(self, event: Event) -> None:
        """Destroy an event."""

    def record_event(self, event: Event, stream: Stream) -> None:
        """Enqueue the event."""

    def elapsed_milliseconds(self, start: Event, end: Event) -> float:
        """GPU time between two events that have happened."""

    def begin_capture(self, stream: Stream) -> None:
        """Record what this thread enqueues on the stream from now on, instead of running it."""

    def end_capture(self, stream: Stream) -> Graph:
        """End the recording, whether or not it went well, and make a graph of it that can be launched."""

    def launch_graph(self, graph: Graph, stream: Stream) -> None:
        """Enqueue a graph."""

    def destroy_graph(self, graph: Graph) -> None:
        """Destroy a graph that is not pending."""


def open_cuda(device: str = "cuda:0", package: str | None = None) -> Cuda:
    """Open a GPU, `cuda` or `cuda:N`, through `package`, or through the first of PACKAGES that works.

    Raises UsageError for another device name or package, MissingDependencyError when no package is installed and
    DeviceError when none reaches the GPU; the message lists what each one said. DeviceError also in the child of a fork
    whose parent has opened one: CUDA starts in no such child.
    """
    ordinal = device_ordinal(device)
    _refuse_after_fork()
    if package is not None and package not in PACKAGES:
        message = f"expected a CUDA package, one of {', '.join(PACKAGES)}; found {package!r}"
        raise UsageError(message)
    refusals: dict[str, MissingDependencyError | DeviceError] = {}
    for name in PACKAGES if package is None else (package,):
        try:
            return _note_use(_open_package(name, ordinal))
        except (MissingDependencyError, DeviceError) as error:
            refusals[name] = error
    said = " | ".join(f"{name}: {error}" for name, error in refusals.items())
    message = f"expected a package that reaches the GPU {device}, found: {said}"
    if all(isinstance(error, MissingDependencyError) for error in refusals.values()):
        raise MissingDependencyError(message)
    raise DeviceError(message)


_used_by: int | None = None
"""The process that first opened a GPU, this one or one it was forked from."""


def _note_use(opened: Cuda) -> Cuda:
    global _used_by
    _used_by = os.getpid()
    return opened


def _refuse_after_fork() -> None:
    if _used_by not in (None, os.getpid()):
        message = (
            "expected a process that CUDA can start in, found the child of a fork whose parent has used a GPU: open it "
            'in the workers only, or start them with "spawn" or "forkserver" (gunicorn: without --preload)'
        )
        raise DeviceError(message)


def device_ordinal(device: str) -> int:
    """N of `cuda:N`, 0 of `cuda`. Raises UsageError for any other name."""
    match = re.fullmatch(r"cuda(?::(\d+))?", device, re.ASCII)
    if match is None:
        message = f"expected a GPU as cuda or cuda:N, found {device!r}"
        raise UsageError(message)
    return int(match[1] or 0)


def check_ordinal(ordinal: int, count: int) -> None:
    """Raise DeviceError unless there is a GPU number `ordinal` among `count`."""
    if count == 0:
        message = "expected a GPU, found none; check nvidia-smi, CUDA_VISIBLE_DEVICES and the container's --gpus option"
        raise DeviceError(message)
    if ordinal >= count:
        message = f"expected cuda:0 to cuda:{count - 1}, found cuda:{ordinal}; open one that nvidia-smi -L lists"
        raise DeviceError(message)


def _open_package(name: str, ordinal: int) -> Cuda:
    """An entry point, so that the runtime can reach torch's GPUs without importing torch or the toolchain itself."""
    import importlib.metadata

    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        opened: Cuda = entry_point.load()(ordinal)
        return opened
    message = f"this installation of efq does not offer {name} (no entry point in {ENTRY_POINTS}); install efq again"
    raise MissingDependencyError(message)
