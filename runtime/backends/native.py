"""EFQ's own kernels on the CPU (docs/native.md)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.model_check import check_model
from efq.runtime.artifact.onnx_model import FLOAT, UINT8, OnnxModel
from efq.runtime.artifact.onnx_model import Port as ModelPort
from efq.runtime.backends.model import (
    INPUT_NAME,
    OUTPUT_NAME,
    Port,
    check_port,
    part_size,
    read_model,
    thread_count,
)
from efq.runtime.backends.threads.lifetime import Lifetime
from efq.runtime.backends.threads.single_image import SingleImageThreads
from efq.runtime.faces.interface import USUAL, Interface
from efq.runtime.machine.cpu import cpus_to_bind
from efq.runtime.native.compile import compile_plan
from efq.runtime.native.fusion import fuse
from efq.runtime.native.library import Memory, NativePlan, Team, give_back, load_library

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

_DTYPES = {UINT8: "uint8", FLOAT: "float32"}


class NativeModel:
    """A model compiled for EFQ's own kernels; `run` may be called from several threads at once.

    Embeddings are those of the integer reference, byte for byte, on every instruction set and any number of threads.
    A batch is computed by all threads, each image by one, but for the last ones, fewer than threads, and an image by
    itself: those are computed by all together, one image by one thread where that was faster.
    """

    name = "native"

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None,
        reduced_range: bool = False,
        content: bytes | None = None,
        interface: Interface = USUAL,
        checked: OnnxModel | None = None,
        instruction_set: str | None = None,
    ) -> None:
        """Compile the model at `path`, or its `content` where that was read, and what it was found to be, `checked`.

        `threads` None uses every usable CPU.

        `reduced_range` (weights of 7 bits) changes nothing: weights of 8 bits are exact, too, only slower without VNNI.
        `instruction_set`: one of `efq.runtime.native.library.instruction_sets`, for tests; None takes the fastest.
        Raises IncompatibleArtifactError for a graph that the kernels do not compute, naming the node
        (UnsupportedNodeError), or that is none of EFQ's, MissingDependencyError where the kernels were not built,
        DeviceError where memory is lacking, UsageError for a thread count below one.
        """
        self._path = path
        self._interface = interface
        count = thread_count(threads)
        library = load_library()
        content = read_model(path) if content is None else content
        model = check_model(content, path) if checked is None else checked
        self._metadata = dict(model.metadata)
        self._ports = _port(model.inputs[0]), _port(model.outputs[0])
        plan = NativePlan(fuse(compile_plan(model)), instruction_set)
        self._team = Team(library, count, cpus_to_bind(count)) if count > 1 else None
        self._lifetime = Lifetime(_Held(plan, self._team))
        self._single = SingleImageThreads()
        self._part = count * part_size(len(content))
        del model
        give_back()

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata_props. Raises UsageError once the model is closed."""
        with self._lifetime.call():
            self._lifetime.held()
            return dict(self._metadata)

    def check_signature(self, contract: InputContract, embedding_size: int) -> None:
        """Check names, dtypes and shapes of the model's input and output. Raises IncompatibleArtifactError."""
        interface = self._interface
        image = Port(INPUT_NAME, interface.dtype, interface.image_shape(contract))
        embedding = Port(OUTPUT_NAME, "float32", (embedding_size,))
        with self._lifetime.call():
            self._lifetime.held()
            check_port("input", [self._ports[0]], image, self._path, batch=interface.batch)
            check_port("output", [self._ports[1]], embedding, self._path, batch=interface.batch)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 (N, H, W, 3) to embeddings float32 (N, d). Raises UsageError once the model is closed."""
        with self._lifetime.call():
            held = self._lifetime.held()
            parts = [images[start : start + self._part] for start in range(0, len(images), self._part)]
            found = [self._interface.feed(part, held.run if len(part) > 1 else self._single_of(held)) for part in parts]
            return np.concatenate(found)

    def close(self) -> None:
        """Free the plan and end the threads. Waits for calls that are running; later ones raise UsageError."""
        if self._lifetime.close() and self._team is not None:
            self._team.close()

    def _single_of(self, held: _Held) -> Run:
        """One image, by all threads or one."""
        if self._team is None:
            return held.run_alone

        def run(image: NDArray[np.uint8]) -> NDArray[np.float32]:
            all_threads = self._single.use_all()
            start = time.perf_counter()
            embedding = held.run(image) if all_threads else held.run_alone(image)
            self._single.record(all_threads=all_threads, seconds=time.perf_counter() - start)
            return embedding

        return run


class _Held:
    """A plan, memory for as many calls as there were at once, and that of its team."""

    def __init__(self, plan: NativePlan, team: Team | None) -> None:
        self._plan = plan
        self._team = team
        self._free: list[Memory] = []
        self._of_team: list[Memory] = []

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """By the team, or by this thread where there is none, or none to wait for."""
        if self._team is None:
            return self.run_alone(images)
        found = self._plan.share(self._team, self._memories(self._team, len(images)), images)
        return self.run_alone(images) if found is None else found

    def run_alone(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """By this thread."""
        try:
            memory = self._free.pop()  # of all threads: a list's pop and append are one step each
        except IndexError:
            memory = self._plan.new_memory()
        found = self._plan.run(memory, images)
        self._free.append(memory)
        return found

    def _memories(self, team: Team, images: int) -> list[Memory]:
        """One for an image of all threads; one for each thread where each has an image of its own."""
        count = team.threads if images >= team.threads else 1
        while len(self._of_team) < count:  # more where two threads are here: the list only grows
            self._of_team.append(self._plan.new_memory(1 if self._of_team else team.threads))
        return self._of_team[:count]


def _port(port: ModelPort) -> Port:
    return Port(port.name, _DTYPES.get(port.dtype, str(port.dtype)), port.dims)
