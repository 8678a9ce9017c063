"""OpenVINO on the CPU."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.onnx_metadata import onnx_metadata_of
from efq.runtime.backends.model import (
    INPUT_NAME,
    OUTPUT_NAME,
    SMALL_PART,
    Port,
    check_port,
    part_size,
    read_model,
    runtime_failure,
    thread_count,
)
from efq.runtime.backends.openvino_core import NAME, core_of_process
from efq.runtime.backends.saturation import products_saturate
from efq.runtime.backends.threads.lifetime import Lifetime
from efq.runtime.backends.threads.workers import Workers
from efq.runtime.errors import DeviceError, EfqError
from efq.runtime.faces.interface import USUAL, Interface


class OpenVinoModel:
    """A model loaded in OpenVINO; `run` may be called from several threads at once.

    The network is compiled for fixed batch sizes, OpenVINO's fastest way: for one image at once, for four, and for
    eight where it is large, when the first such batch comes. With several threads one image is computed by all of
    them, a batch in parts, each in one thread.
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
    ) -> None:
        """Load the model at `path`, or its `content` where that was read; `threads` None uses every usable CPU.

        `interface` is the graph's surface.
        `reduced_range` says that the weights have 7 bits, without which 8-bit products saturate on some CPUs.
        Raises DeviceError when they would on this one, MissingDependencyError without openvino,
        IncompatibleArtifactError when the file is no model that this OpenVINO can load, UsageError for a thread count
        below one.
        """
        if not reduced_range and products_saturate():
            message = (
                "expected a CPU with VNNI, whose 8-bit products are exact, found one where they saturate and OpenVINO "
                "has no exact kernels for 8-bit weights: export the model without --full-range, or for ort-cpu"
            )
            raise DeviceError(message)
        self._path = path
        self._interface = interface
        self._threads = thread_count(threads)
        content = read_model(path) if content is None else content
        networks = _Networks(content, path, self._threads)
        self._metadata = onnx_metadata_of(content, path)
        most = interface.batch or part_size(len(content))
        # eight images on two threads are four on each
        self._sizes = sorted({most, SMALL_PART, 1}, reverse=True) if interface.batch is None else [most]
        self._lifetime = Lifetime(networks)
        self._workers = Workers(self._threads, part_size=most)
        networks.requests(self._sizes[-1], shared=False)

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata_props, which OpenVINO does not keep."""
        self._lifetime.held()
        return self._metadata

    def check_signature(self, contract: InputContract, embedding_size: int) -> None:
        """Check names, dtypes and shapes of the model's input and output. Raises IncompatibleArtifactError."""
        interface = self._interface
        image = Port(INPUT_NAME, interface.dtype, interface.image_shape(contract))
        embedding = Port(OUTPUT_NAME, "float32", (embedding_size,))
        with self._lifetime.call():
            model = self._lifetime.held().model
            check_port("input", _ports(model.inputs), image, self._path, batch=interface.batch)
            check_port("output", _ports(model.outputs), embedding, self._path, batch=interface.batch)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 (N, H, W, 3) to embeddings float32 (N, d). Raises UsageError once the model is closed."""
        with self._lifetime.call():
            networks = self._lifetime.held()
            if len(images) == 1:
                return self._interface.feed(images, networks.requests(self._sizes[-1], shared=False).run)
            return self._workers.run(images, lambda part: self._run_part(networks, part))

    def close(self) -> None:
        """Free the networks and end the threads. Waits for calls that are running; later ones raise UsageError."""
        networks = self._lifetime.held_or_none()
        if self._lifetime.close():
            if networks is not None:
                networks.close()
            self._workers.close()

    def _run_part(self, networks: _Networks, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        embeddings = []
        while len(images):
            size = next((size for size in self._sizes if size <= len(images)), self._sizes[-1])
            requests = networks.requests(size, shared=self._threads > 1)
            embeddings.append(self._interface.feed(images[:size], requests.run))
            images = images[size:]
        return np.concatenate(embeddings)


class _Networks:
    """The network as it was read, and compiled for those batches that came."""

    def __init__(self, content: bytes, path: Path, threads: int) -> None:
        self._core = core_of_process(id(self))
        self._path = path
        self._threads = threads
        self._lock = threading.RLock()
        self._compiled: dict[tuple[int, bool], _Requests] = {}
        self.model = self._parse(content)
        self._image_shape = tuple(self.model.input(0).partial_shape)[1:]

    def requests(self, batch: int, *, shared: bool) -> _Requests:
        """Compiled for `batch` images: all threads for one call or, `shared`, one thread for each of many calls."""
        with self._lock:
            if (batch, shared) not in self._compiled:
                self._compiled[batch, shared] = self._compile(batch, shared=shared)
            return self._compiled[batch, shared]

    def close(self) -> None:
        """Free what was compiled, which no call may use any more."""
        holders = {requests: requests.options for requests in self._compiled.values()}
        self._compiled.clear()
        self._core.leave(id(self), holders)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if hasattr(self, "_compiled") and not is_finalizing():
            self.close()

    def _parse(self, content: bytes) -> Any:
        try:
            return self._core.read_model(content)
        except Exception as error:  # OpenVINO raises RuntimeError, which its plugins derive from
            raise _cannot_load(self._path, error) from error

    def _compile(self, batch: int, *, shared: bool) -> _Requests:
        options: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": self._threads if shared else 1,
            "INFERENCE_PRECISION_HINT": "f32",  # what is not integer stays float32, as in every other runtime
            "ENABLE_CPU_PINNING": False,  # several models of one process would be pinned to the same CPU
        }
        try:
            model = self.model.clone()
            model.reshape([batch, *(dimension.get_length() for dimension in self._image_shape)])
            return _Requests(self._core.compile(model, options), options)
        except Exception as error:  # see _parse
            raise _cannot_load(self._path, error) from error


class _Requests:
    """Infer requests of one compiled network: as many as there are calls at once, used again and again."""

    def __init__(self, compiled: Any, options: Mapping[str, Any]) -> None:
        self.options = options
        self._compiled = compiled
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        with self._request() as request:
            request.infer([np.ascontiguousarray(batch)], share_inputs=True)
            return np.array(request.get_output_tensor(0).data, np.float32)

    @contextlib.contextmanager
    def _request(self) -> Iterator[Any]:
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            yield request
        finally:
            self._idle.put(request)


def _cannot_load(path: Path, error: Exception) -> EfqError:
    import importlib.metadata

    runtime = f"OpenVINO {importlib.metadata.version('openvino')}"
    return runtime_failure(error, runtime=runtime, doing="load", place=path)


def _ports(found: Sequence[Any]) -> list[Port]:
    return [
        Port(
            port.get_any_name(),
            np.dtype(port.element_type.to_dtype()).name,
            tuple(d.get_length() if d.is_static else str(d) for d in port.partial_shape),
        )
        for port in found
    ]
