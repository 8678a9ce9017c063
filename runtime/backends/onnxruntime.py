"""ONNX Runtime on the CPU."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.backends.model import (
    INPUT_NAME,
    OUTPUT_NAME,
    Port,
    check_port,
    part_size,
    read_model,
    runtime_failure,
    thread_count,
)
from efq.runtime.backends.onnxruntime_module import NAME, import_onnxruntime
from efq.runtime.backends.saturation import products_saturate
from efq.runtime.backends.threads.lifetime import Lifetime
from efq.runtime.backends.threads.single_image import SingleImageThreads
from efq.runtime.backends.threads.workers import Workers
from efq.runtime.faces.interface import USUAL, Interface
from efq.runtime.machine.cpu import cpus_to_bind
from efq.runtime.machine.forks import loading

if TYPE_CHECKING:
    import onnxruntime

WAITING_OPTION = ("session.intra_op.spin_duration_us", "100")
"""Worker threads wait for work in a loop only for a moment after a call.

Within a call they have to be quick, and calls one after the other find them awake; for longer they would take the CPU
from the rest of a service.
"""


class OnnxRuntimeModel:
    """A model loaded in ONNX Runtime; `run` may be called from several threads at once.

    With several threads one image is computed by all of them, or by one where that is faster, a batch in parts, each in
    one thread. What one thread computes has a session of its own, made when it is first needed: it holds the weights a
    second time. Threads are bound to CPUs where there are as many as CPUs.
    """

    name = NAME

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None,
        reduced_range: bool = False,
        content: bytes | None = None,
        interface: Interface = USUAL,
        as_written: bool = False,
        lean: bool = False,
    ) -> None:
        """Load the model at `path`, or its `content` where that was read; `threads` None uses every usable CPU.

        The file is read once: what becomes of it afterwards changes nothing. `interface` is the graph's surface.

        Where 8-bit products saturate on this CPU, weights are made unsigned, which gives the exact sums in more time,
        unless `reduced_range` says that they have 7 bits, which always fit. `as_written`: QuantizeLinear and
        DequantizeLinear are computed where they stand, as in a graph that is another runtime's: what ONNX Runtime
        1.32 rewrote TensorRT's graphs into gave other embeddings. `lean`: no memory is planned ahead for each size of a
        batch.
        Raises IncompatibleArtifactError when the file is no model that this ONNX Runtime can load,
        MissingDependencyError for one older than EFQ was tested with, UsageError for a thread count below one.
        """
        self._path = path
        self._interface = interface
        count = thread_count(threads)
        content = read_model(path) if content is None else content
        kind = _SessionKind(exact_anyway=reduced_range, as_written=as_written, lean=lean)
        self._lifetime = Lifetime(_Sessions(content, path, count, kind))
        self._single = SingleImageThreads() if count > 1 else None
        self._workers = Workers(count, part_size=interface.batch or part_size(len(content)), cpus=cpus_to_bind(count))

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata_props."""
        with self._lifetime.call():
            return dict(self._lifetime.held().together.get_modelmeta().custom_metadata_map)

    def check_signature(self, contract: InputContract, embedding_size: int) -> None:
        """Check names, dtypes and shapes of the model's input and output. Raises IncompatibleArtifactError."""
        interface = self._interface
        dtype = "tensor(float)" if interface.is_float else "tensor(uint8)"
        image = Port(INPUT_NAME, dtype, interface.image_shape(contract))
        embedding = Port(OUTPUT_NAME, "tensor(float)", (embedding_size,))
        with self._lifetime.call():
            session = self._lifetime.held().together
            check_port("input", _ports(session.get_inputs()), image, self._path, batch=interface.batch)
            check_port("output", _ports(session.get_outputs()), embedding, self._path, batch=interface.batch)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 (N, H, W, 3) to embeddings float32 (N, d). Raises UsageError once the model is closed."""
        with self._lifetime.call():
            sessions = self._lifetime.held()
            if len(images) == 1:
                return self._run_single(sessions, images)
            session = sessions.of_one_thread()
            return self._workers.run(images, lambda part: self._run(session, part))

    def close(self) -> None:
        """Free the sessions and end the threads. Waits for calls that are running; later ones raise UsageError."""
        if self._lifetime.close():
            self._workers.close()

    def _run_single(self, sessions: _Sessions, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._single is None:
            return self._run(sessions.together, image)
        all_threads = self._single.use_all()
        session = sessions.together if all_threads else sessions.of_one_thread()
        start = time.perf_counter()
        embedding = self._run(session, image)
        self._single.record(all_threads=all_threads, seconds=time.perf_counter() - start)
        return embedding

    def _run(self, session: onnxruntime.InferenceSession, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._interface.feed(images, lambda batch: _run(session, batch))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _SessionKind:
    """exact_anyway: its products saturate nowhere. as_written, lean: as `OnnxRuntimeModel` has them."""

    exact_anyway: bool
    as_written: bool
    lean: bool


class _Sessions:
    """One whose calls all threads share, and one for calls of one thread, made when it is first needed."""

    def __init__(self, content: bytes, path: Path, threads: int, kind: _SessionKind) -> None:
        self.together = _create_session(content, path, threads, kind)
        self._path = path
        self._kind = kind
        self._lock = threading.RLock()
        self._of_one_thread = self.together if threads == 1 else None
        self._content = b"" if threads == 1 else content

    def of_one_thread(self) -> onnxruntime.InferenceSession:
        with self._lock:
            if self._of_one_thread is None:
                self._of_one_thread = _create_session(self._content, self._path, 1, self._kind)
                self._content = b""
            return self._of_one_thread


def _run(session: onnxruntime.InferenceSession, batch: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(session.run([OUTPUT_NAME], {INPUT_NAME: batch})[0], np.float32)


def _ports(arguments: Sequence[onnxruntime.NodeArg]) -> list[Port]:
    return [Port(argument.name, argument.type, tuple(argument.shape)) for argument in arguments]


def _create_session(content: bytes, path: Path, threads: int, kind: _SessionKind) -> onnxruntime.InferenceSession:
    module = import_onnxruntime()
    options = module.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = module.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = module.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry(*WAITING_OPTION)
    options.enable_mem_pattern = not kind.lean
    if kind.as_written:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    cpus = cpus_to_bind(threads)[1:]  # the calling thread is the first one, and not ONNX Runtime's to bind
    if cpus:
        # Counted from 1; a thread's CPUs are separated from the next thread's by a semicolon.
        options.add_session_config_entry("session.intra_op_thread_affinities", ";".join(str(cpu + 1) for cpu in cpus))
    if not kind.exact_anyway and products_saturate():
        options.add_session_config_entry("session.x64quantprecision", "1")
    # Every failure is raised as well, so the log would only say it twice.
    options.log_severity_level = 4
    with loading:
        try:
            session: onnxruntime.InferenceSession = module.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
            return session
        except Exception as error:  # ONNX Runtime's exceptions share no other base class
            runtime = f"ONNX Runtime {module.__version__}"
            raise runtime_failure(error, runtime=runtime, doing="load", place=path) from error
