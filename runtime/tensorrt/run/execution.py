"""One CUDA stream with its memory and its execution contexts, one a batch bucket, used by one thread at a time."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.cuda.seam import Cuda, DevicePointer, Graph, Stream
from efq.runtime.errors import DeviceError
from efq.runtime.tensorrt.run.buffers import BatchBuffer
from efq.runtime.tensorrt.run.engine import Engine
from efq.runtime.tensorrt.run.graphs import GraphPolicy
from efq.runtime.tensorrt.run.logger import failure_reason


class BucketContext:
    """An execution context whose batch size never changes, and the CUDA graph of its launch.

    A graph is only valid while the context it was captured from stays as it was (TensorRT developer guide, "CUDA
    graphs"), so each bucket has a context of its own. They run one after another and share their device memory.
    """

    def __init__(
        self,
        engine: Engine,
        batch: int,
        memory: DevicePointer | None,
        *,
        cuda: Cuda,
        stream: Stream,
        graphs: GraphPolicy,
    ) -> None:
        self._engine = engine
        self._cuda = cuda
        self._stream = stream
        self._graphs = graphs
        self._graph: Graph | None = None
        self._bound: tuple[DevicePointer, DevicePointer] | None = None
        self._launched = False
        self._context = engine.create_context()
        if memory is not None:
            self._context.set_device_memory(memory, engine.activation_bytes)
        self._require(self._context.set_input_shape(engine.input.name, (batch, *engine.input.shape)), "set_input_shape")

    def bind(self, source: DevicePointer, destination: DevicePointer) -> None:
        """Read images from and write embeddings to these addresses; a graph with other addresses is dropped."""
        if self._bound == (source, destination):
            return
        self.drop_graph()
        self._bound, self._launched = None, False
        for port, address in ((self._engine.input, source), (self._engine.output, destination)):
            self._require(self._context.set_tensor_address(port.name, address), "set_tensor_address")
        self._bound = source, destination

    def launch(self) -> None:
        """Enqueue one run. The first prepares the context, the second is captured, all others are the graph."""
        if self._launched and self._graph is None and self._graphs.captures:
            self._capture()
        if self._graph is not None:
            self._cuda.launch_graph(self._graph, self._stream)
            return
        self._enqueue()
        self._launched = True

    def drop_graph(self) -> None:
        """Destroy the graph, as far as CUDA still can."""
        graph, self._graph = self._graph, None
        if graph is not None:
            with contextlib.suppress(DeviceError):
                self._cuda.destroy_graph(graph)

    def _enqueue(self) -> None:
        with self._engine.recorder.recording() as messages:
            accepted = self._context.execute_async_v3(self._stream)
        if not accepted:
            message = f"expected TensorRT to run the engine, found: {failure_reason(messages)}; check nvidia-smi"
            raise DeviceError(message)

    def _capture(self) -> None:
        try:
            self._cuda.begin_capture(self._stream)
            try:
                self._enqueue()
            except BaseException:
                with contextlib.suppress(DeviceError):  # a broken capture ends with an error of its own
                    self._cuda.destroy_graph(self._cuda.end_capture(self._stream))
                raise
            self._graph = self._cuda.end_capture(self._stream)
        except DeviceError as error:
            self._graphs.refuse(f"this engine cannot be captured ({error})")

    def _require(self, accepted: bool, call: str) -> None:
        if not accepted:
            message = f"expected {call} to accept the engine's own shapes, found a refusal; build the engine again"
            raise DeviceError(message)


class ExecutionStream:
    """Runs batches on a CUDA stream of its own. Everything but the constructor is called by its present holder."""

    def __init__(self, engine: Engine, *, cuda: Cuda, graphs: GraphPolicy) -> None:
        self._engine = engine
        self._cuda = cuda
        self._graphs = graphs
        self._images = BatchBuffer(cuda, engine.input.shape, engine.input.dtype)
        self._embeddings = BatchBuffer(cuda, engine.output.shape, engine.output.dtype)
        self._contexts: dict[int, BucketContext] = {}
        self._memory: DevicePointer | None = None
        self._stream = cuda.create_stream()
        try:
            if engine.activation_bytes:
                self._memory = cuda.allocate(engine.activation_bytes)
        except DeviceError:
            self.close()
            raise

    def run(self, images: NDArray[Any], bucket: int, embeddings: NDArray[np.float32]) -> None:
        """Embed at most `bucket` images, as the engine takes them, into `embeddings`, float32 (N, d).

        Raises DeviceError.
        """
        context = self._prepare(bucket)
        rows = self._images.rows(bucket)
        rows[: len(images)] = images
        rows[len(images) :] = 0
        self._images.upload(bucket, self._stream)
        context.launch()
        self._embeddings.download(len(images), self._stream)
        self._cuda.synchronize(self._stream)
        embeddings[:] = self._embeddings.rows(len(images))

    def milliseconds(self, bucket: int, repeats: int) -> list[float]:
        """GPU time of each of `repeats` runs on the images that are there, without copies. Raises DeviceError."""
        context = self._prepare(bucket)
        with contextlib.ExitStack() as stack:
            events = [self._cuda.create_event() for _ in range(2)]
            for event in events:
                stack.callback(self._cuda.destroy_event, event)
            times = []
            for _ in range(repeats):
                self._cuda.record_event(events[0], self._stream)
                context.launch()
                self._cuda.record_event(events[1], self._stream)
                self._cuda.synchronize(self._stream)
                times.append(self._cuda.elapsed_milliseconds(*events))
        return times

    def is_usable(self) -> bool:
        """Whether CUDA still answers on this stream; waits for what is pending."""
        try:
            self._cuda.synchronize(self._stream)
        except DeviceError:
            return False
        return True

    def close(self) -> None:
        """Free everything, as far as CUDA still can."""
        with contextlib.suppress(DeviceError):
            self._cuda.synchronize(self._stream)
        for context in self._contexts.values():
            context.drop_graph()
        self._contexts.clear()
        self._images.free()
        self._embeddings.free()
        memory, self._memory = self._memory, None
        with contextlib.suppress(DeviceError):
            if memory is not None:
                self._cuda.free(memory)
        with contextlib.suppress(DeviceError):
            self._cuda.destroy_stream(self._stream)

    def _prepare(self, bucket: int) -> BucketContext:
        """The bucket's context, bound to buffers that hold it."""
        for buffer in (self._images, self._embeddings):
            buffer.reserve(bucket)
        if bucket not in self._contexts:
            self._contexts[bucket] = BucketContext(
                self._engine, bucket, self._memory, cuda=self._cuda, stream=self._stream, graphs=self._graphs
            )
        context = self._contexts[bucket]
        context.bind(self._images.pointer, self._embeddings.pointer)
        return context
