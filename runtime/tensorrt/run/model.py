"""TensorRT and TensorRT-RTX on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.backends.model import INPUT_NAME, OUTPUT_NAME
from efq.runtime.cuda.seam import Cuda
from efq.runtime.errors import EngineError, InputError, UsageError
from efq.runtime.faces.interface import USUAL, Interface
from efq.runtime.tensorrt.api import TensorRT
from efq.runtime.tensorrt.run.batching import BatchLimits, checked_buckets, default_buckets, split
from efq.runtime.tensorrt.run.context_pool import ContextPool
from efq.runtime.tensorrt.run.engine import Engine
from efq.runtime.tensorrt.run.execution import ExecutionStream
from efq.runtime.tensorrt.run.graphs import GraphPolicy

CONTEXTS = 2  # one computes while the other copies


class TensorRTModel:
    """An engine on a GPU; `run` may be called from several threads at once.

    Each thread that is inside `run` has a CUDA stream, buffers and execution contexts to itself; where all `contexts`
    of them are taken, it waits. A batch runs in the smallest bucket that holds it, so only so many shapes are ever
    prepared, and from its second run on as one CUDA graph. It does not survive a fork.
    """

    name = "tensorrt"

    def __init__(
        self,
        plan: bytes,
        *,
        module: TensorRT,
        cuda: Cuda,
        batch_buckets: Sequence[int] | None = None,
        cuda_graphs: bool = True,
        contexts: int = CONTEXTS,
        allow_host_code: bool = False,
        runtime_cache: bytes = b"",
        interface: Interface = USUAL,
    ) -> None:
        """Deserialize `plan` with `module` (`efq.runtime.tensorrt.module.import_tensorrt`) on the GPU of `cuda`.

        `batch_buckets` None takes sizes that waste little within the engine's limits. `allow_host_code` is needed for
        version-compatible plans, which carry a library that is loaded into this process: only for plans you trust.
        `runtime_cache` is what `serialized_runtime_cache` gave an earlier process. `interface` is the graph's surface.
        Raises EngineError for a plan that is damaged or made for another TensorRT, GPU or network, DeviceError where
        the GPU or driver cannot run it, UsageError for buckets outside the engine's limits or no contexts.
        """
        self._cuda = cuda
        with cuda.current_device():
            self._engine = Engine(
                plan,
                module=module,
                cuda_graphs=cuda_graphs,
                allow_host_code=allow_host_code,
                runtime_cache=runtime_cache,
                input_dtype=interface.dtype,
            )
        self._interface = interface
        limits = self._engine.limits
        self.buckets = default_buckets(limits) if batch_buckets is None else checked_buckets(batch_buckets, limits)
        self._graphs = GraphPolicy(
            wanted=cuda_graphs,
            made_by_runtime=self._engine.settings.runtime_makes_graphs,
            refusal=cuda.capture_refusal,
        )
        self._pool = ContextPool(self._create_stream, contexts)

    @property
    def _image_shape(self) -> tuple[int, ...]:
        """Of an image as `run` takes it."""
        shape = self._engine.input.shape
        return shape if self._interface.layout == "NHWC" else (*shape[1:], shape[0])

    @property
    def batch_limits(self) -> BatchLimits:
        """The batch sizes the engine was built for."""
        return self._engine.limits

    @property
    def uses_cuda_graphs(self) -> bool:
        """Whether batches run as CUDA graphs; when they cannot, the log says why, once."""
        return self._graphs.in_use

    @property
    def metadata(self) -> Mapping[str, str]:
        """None: a plan carries nothing of its model's."""
        return {}

    def check_signature(self, contract: InputContract, embedding_size: int) -> None:
        """Check names and shapes of the engine's input and output. Raises EngineError."""
        expected = (INPUT_NAME, self._interface.image_shape(contract)), (OUTPUT_NAME, (embedding_size,))
        found = tuple((port.name, port.shape) for port in (self._engine.input, self._engine.output))
        if found != expected:
            message = f"expected an engine with (input, output) {expected}, found {found}; build it with efq-export"
            raise EngineError(message)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 (N, H, W, 3), any N above zero, to embeddings float32 (N, d), which the caller owns.

        Raises InputError for other arrays before anything is launched, DeviceError when the GPU fails, UsageError
        once the model is closed.
        """
        self._check_images(images)
        embeddings = np.empty((len(images), *self._engine.output.shape), np.float32)
        with self._cuda.current_device(), self._pool.lease() as stream:
            for part, bucket in split(len(images), self.buckets):
                stream.run(self._interface.prepare(images[part]), bucket, embeddings[part])
        return embeddings

    def device_milliseconds(self, batch: int, repeats: int) -> list[float]:
        """GPU time of each of `repeats` runs of `batch` images, by CUDA events and without the copies.

        The first two runs of a bucket prepare it. Raises UsageError for a batch above the largest bucket or below one.
        """
        if not 1 <= batch <= self.buckets[-1]:
            message = f"expected a batch from 1 to {self.buckets[-1]}, the largest bucket, found {batch}"
            raise UsageError(message)
        bucket = next(size for size in self.buckets if size >= batch)
        with self._cuda.current_device(), self._pool.lease() as stream:
            return stream.milliseconds(bucket, repeats)

    def serialized_runtime_cache(self) -> bytes:
        """What TensorRT-RTX compiled so far for this GPU, for the next process; empty with TensorRT."""
        with self._cuda.current_device(), self._pool.lease():
            return self._engine.serialized_runtime_cache()

    def close(self) -> None:
        """Free the GPU's memory. Waits for calls that are running; later calls raise UsageError."""
        with self._cuda.current_device():
            if self._pool.close():
                self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _create_stream(self) -> ExecutionStream:
        return ExecutionStream(self._engine, cuda=self._cuda, graphs=self._graphs)

    def _check_images(self, images: NDArray[np.uint8]) -> None:
        shape = self._image_shape
        fits = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == shape
        if not fits or not len(images):
            found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
            message = f"expected images uint8 (N, {', '.join(map(str, shape))}) with N above zero, found {found}"
            raise InputError(message)
