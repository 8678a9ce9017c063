"""The kernels' library, where it was built, and a plan in it (`source/plan.cpp`)."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import DeviceError, MissingDependencyError
from efq.runtime.machine.compiled import built_library, open_library

if TYPE_CHECKING:  # whether there is a library is asked where other runtimes serve
    from efq.runtime.native.records import Record
    from efq.runtime.native.steps import Maps, Plan

LIBRARY = "kernels"
TRIED = frozenset({"amx-int8", "avx512-vnni", "avx-vnni", "avx2"})
"""Instruction sets whose kernels have run on CPUs that have them; others serve where they are asked for."""

_FOLDER = Path(__file__).parent
_UNSOUND, _NO_MEMORY = -1, -2


def library_path() -> Path | None:
    """The library beside this file; None where it was not built."""
    return built_library(_FOLDER, LIBRARY)


@functools.cache
def load_library() -> ctypes.CDLL:
    """The library. Raises MissingDependencyError where it was not built or cannot be loaded."""
    from efq.runtime.native.records import Record

    path = library_path()
    if path is None:
        message = (
            "this needs EFQ's own kernels, which were not built: install EFQ again where there is a C++17 compiler "
            "(apt-get install g++; pip install --force-reinstall --no-deps efq), or use backend='onnxruntime'"
        )
        raise MissingDependencyError(message)
    try:
        library = open_library(path)
    except OSError as error:
        message = (
            f"expected EFQ's own kernels at {path}, found a library that cannot be loaded ({error}); install again"
        )
        raise MissingDependencyError(message) from error
    _declare(library)
    if library.efq_step_size() != ctypes.sizeof(Record):
        message = f"expected EFQ's own kernels of this version at {path}, found those of another; install EFQ again"
        raise MissingDependencyError(message)
    return library


def give_back() -> None:
    """Memory that the process has freed, to the system: what a graph took of it before it was a plan."""
    load_library().efq_give_back()


def instruction_sets() -> tuple[str, ...]:
    """Those that run on this CPU, the fastest first; the last, "plain", runs on every one."""
    return tuple(load_library().efq_instruction_sets().decode().split())


class NativePlan:
    """A plan with its weights as the kernels of one instruction set read them; any number of threads may `run` it."""

    def __init__(self, plan: Plan, instruction_set: str | None = None, *, shared: bool = True) -> None:
        """Of `instruction_set`, or of the fastest here; `shared` False keeps every map of a run, for `read`.

        Raises DeviceError where memory is lacking.
        """
        from efq.runtime.native.memory import place_maps
        from efq.runtime.native.records import records_of

        self._library = load_library()
        self.instruction_set = instruction_set or instruction_sets()[0]
        places = place_maps(plan, shared=shared)
        # No plan is kept: the library copies the weights, in an order of its own.
        self._images, self._embedding_size, self._step_count = plan.images, plan.embedding_size, len(plan.steps)
        self._offsets = places.offsets
        name, images = self.instruction_set.encode(), places.offsets[plan.images]
        self._handle = self._library.efq_plan_new(name, places.size, images, plan.images.size)
        if not self._handle:
            message = f"expected memory for a plan on {self.instruction_set}, found none, or a CPU without that"
            raise DeviceError(message)
        self.plain: list[str] = []
        self._step_of_record: list[int] = []
        for number, step in enumerate(plan.steps):
            for record, _constants in records_of(step, plan, places):
                self._step_of_record.append(number)
                if self._add(step.node, record):
                    self.plain.append(step.node)

    def _add(self, node: str, record: Record) -> bool:
        """Whether a plain kernel takes it."""
        done = int(self._library.efq_plan_add(self._handle, ctypes.byref(record)))
        if done == _UNSOUND:
            message = f"a step that is not sound: {node}"
            raise AssertionError(message)
        if done == _NO_MEMORY:
            message = "expected memory for the weights of a model, found too little: free some"
            raise DeviceError(message)
        return bool(done)

    def memory_size(self, threads: int = 1) -> int:
        """Bytes that one call takes besides the weights."""
        return int(self._library.efq_memory_size(self._handle, threads))

    def new_memory(self, threads: int = 1) -> Memory:
        """What one call of that many threads needs, to be used by one at a time. Raises DeviceError where it lacks."""
        return Memory(self._library, self._handle, threads)

    def run(self, memory: Memory, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 (N, rows, columns, 3) to embeddings float32 (N, d) of unit length, by this thread."""
        images, embeddings = self._checked(images)
        self._library.efq_plan_run(
            self._handle, memory.pointer, images.ctypes.data, len(images), embeddings.ctypes.data
        )
        return embeddings

    def share(self, team: Team, memories: Sequence[Memory], images: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """The same by a team, in memories that no other uses, the first for all its threads.

        Where each has one, each computes images of its own, and all together those that are left. None where nothing
        was computed: the team is at another call, which one image does not wait for, or has one thread.
        """
        images, embeddings = self._checked(images)
        pointers = (ctypes.c_void_p * len(memories))(*[memory.pointer for memory in memories])
        done = self._library.efq_plan_share(
            *(self._handle, team.pointer, pointers, len(memories)),
            *(images.ctypes.data, len(images), embeddings.ctypes.data),
        )
        return None if done else embeddings

    def _checked(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        images = np.ascontiguousarray(images)
        shape = (self._images.rows, self._images.columns, self._images.channels)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            message = f"images of {images.dtype} {images.shape}"
            raise ValueError(message)
        return images, np.empty((len(images), self._embedding_size), np.float32)

    def profile(self, memory: Memory, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Seconds of CPU time by step (steps,), for one image uint8 (rows, columns, 3)."""
        images, embeddings = self._checked(image[np.newaxis])
        seconds = np.zeros(len(self._step_of_record))
        self._library.efq_plan_profile(
            self._handle, memory.pointer, images.ctypes.data, embeddings.ctypes.data, seconds.ctypes.data
        )
        found = np.zeros(self._step_count)
        np.add.at(found, self._step_of_record, seconds)
        return found

    def read(self, memory: Memory, maps: Maps) -> NDArray[np.uint8]:
        """What `maps` (of `Plan.place_of`) hold after a run, of its last image; later steps may have written over."""
        found = np.empty((maps.rows, maps.columns, maps.channels), np.uint8)
        self._library.efq_plan_read(self._handle, memory.pointer, self._offsets[maps], maps.size, found.ctypes.data)
        return found

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.efq_plan_free(self._handle)
            self._handle = None


class Memory:
    """Of one image: maps, and scratch of each thread that computes it."""

    def __init__(self, library: ctypes.CDLL, plan: int, threads: int) -> None:
        self._library = library
        self.pointer = library.efq_memory_new(plan, threads)
        if not self.pointer:
            message = "expected memory for the maps of a model, found too little: use fewer threads, or free some"
            raise DeviceError(message)

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            self._library.efq_memory_free(self.pointer)
            self.pointer = None


class Team:
    """`threads` with the calling one; the others begin with the first call they share, and end with `close`.

    With a CPU in `cpus` for each of all, they are bound to those that the calling one is not on. It is at one call at a
    time. The child of a fork has none of its threads: there a call is computed by the calling thread alone, and nothing
    is waited for.
    """

    def __init__(self, library: ctypes.CDLL, threads: int, cpus: Sequence[int] = ()) -> None:
        """Of the kernels' `library`. Raises DeviceError where memory is lacking."""
        self._library = library
        self.threads = threads
        self.pointer = library.efq_team_new(threads, (ctypes.c_int32 * len(cpus))(*cpus), len(cpus))
        if not self.pointer:
            message = "expected memory for threads, found too little: free some"
            raise DeviceError(message)

    def close(self) -> None:
        """End the threads; no call may be running, and none may follow."""
        pointer, self.pointer = self.pointer, None
        if pointer:
            self._library.efq_team_free(pointer)

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            self.close()


def _declare(library: ctypes.CDLL) -> None:
    pointer, long, integer = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    for name, arguments, result in (
        ("efq_step_size", [], integer),
        ("efq_instruction_sets", [], ctypes.c_char_p),
        ("efq_plan_new", [ctypes.c_char_p, long, long, long], pointer),
        ("efq_plan_free", [pointer], None),
        ("efq_plan_add", [pointer, pointer], integer),
        ("efq_memory_new", [pointer, integer], pointer),
        ("efq_memory_free", [pointer], None),
        ("efq_memory_size", [pointer, integer], long),
        ("efq_give_back", [], None),
        ("efq_team_new", [integer, pointer, integer], pointer),
        ("efq_team_free", [pointer], None),
        ("efq_plan_run", [pointer, pointer, pointer, long, pointer], integer),
        ("efq_plan_share", [pointer, pointer, pointer, integer, pointer, long, pointer], integer),
        ("efq_plan_profile", [pointer, pointer, pointer, pointer, pointer], integer),
        ("efq_plan_read", [pointer, pointer, long, long, pointer], integer),
    ):
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
