"""A plan becomes an engine: deserialized, and its one input and one output understood."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

from efq.runtime.errors import DeviceError, EngineError
from efq.runtime.tensorrt.api import TensorRT
from efq.runtime.tensorrt.interfaces import ICudaEngine, IExecutionContext, Runtime
from efq.runtime.tensorrt.run.batching import BatchLimits
from efq.runtime.tensorrt.run.logger import LogRecorder, failure_reason, process_logger
from efq.runtime.tensorrt.run.settings import RuntimeSettings
from efq.runtime.tensorrt.run.validity import REBUILD, check_validity

PROFILE = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class IOTensor:
    """An input or output of an engine; `shape` is that of one image or embedding, without the batch.

    dtype: "uint8" or "float32".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


class Engine:
    """A deserialized plan with one input, uint8 or float32, and one output, float32, both batches."""

    def __init__(
        self,
        plan: bytes,
        *,
        module: TensorRT,
        cuda_graphs: bool,
        allow_host_code: bool,
        runtime_cache: bytes,
        input_dtype: str = "uint8",
    ) -> None:
        """Deserialize `plan` on the current GPU.

        Raises EngineError for a plan that is damaged or made for another TensorRT, GPU or network, DeviceError where
        this GPU or its driver cannot run it.
        """
        self._lock = threading.Lock()
        logger, self.recorder = process_logger(module)
        self._runtime = _create_runtime(module, logger, self.recorder)
        # A version-compatible plan carries a library that runs in this process: code, not only data.
        self._runtime.engine_host_code_allowed = allow_host_code
        self._engine = _deserialize(self._runtime, plan, module, self.recorder)
        self._data_types = {"uint8": module.DataType.UINT8, "float32": module.DataType.FLOAT}
        self.input = self._io_tensor("input", module.TensorIOMode.INPUT, input_dtype)
        self.output = self._io_tensor("output", module.TensorIOMode.OUTPUT, "float32")
        self.activation_bytes = int(self._engine.device_memory_size_v2)  # what a context needs while it runs
        self.limits = self._batch_limits()
        self.settings = RuntimeSettings(self._engine, module, cuda_graphs=cuda_graphs, runtime_cache=runtime_cache)

    def create_context(self) -> IExecutionContext:
        """A new execution context, whose device memory is still to be set. Raises DeviceError."""
        with self._lock, self.recorder.recording() as messages:
            context = self._engine.create_execution_context(self.settings.context_argument)
        if context is None:
            message = (
                f"expected an execution context of TensorRT, found: {failure_reason(messages)}; "
                "free GPU memory, or use fewer contexts"
            )
            raise DeviceError(message)
        return context

    def serialized_runtime_cache(self) -> bytes:
        """See `RuntimeSettings.serialized_runtime_cache`."""
        with self._lock:
            return self.settings.serialized_runtime_cache()

    def close(self) -> None:
        """Free the weights. No execution context may be left."""
        del self.settings, self._engine, self._runtime

    def _io_tensor(self, kind: str, mode: Any, dtype: str) -> IOTensor:
        engine, types = self._engine, self._data_types
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        names = [name for name in names if engine.get_tensor_mode(name) == mode]
        if len(names) != 1:
            message = f"expected an engine with one {kind}, found {len(names)} {names}; build it with efq-export"
            raise EngineError(message)
        found, shape = engine.get_tensor_dtype(names[0]), tuple(engine.get_tensor_shape(names[0]))
        if found != types[dtype] or not shape or min(shape[1:], default=1) < 1:
            message = (
                f"expected the {kind} of the engine as {types[dtype]} of a shape fixed but for the batch, "
                f"found {names[0]} {found} {shape}; build it with efq-export"
            )
            raise EngineError(message)
        return IOTensor(name=names[0], shape=shape[1:], dtype=dtype)

    def _batch_limits(self) -> BatchLimits:
        shapes = [tuple(shape) for shape in self._engine.get_tensor_profile_shape(self.input.name, PROFILE)]
        if len(shapes) != 3 or any(shape[1:] != self.input.shape for shape in shapes):
            message = (
                f"expected an optimization profile of {self.input.name} that changes only the batch, found {shapes}; "
                "build the engine with efq-export"
            )
            raise EngineError(message)
        minimum, optimum, maximum = (shape[0] for shape in shapes)
        return BatchLimits(minimum=minimum, optimum=optimum, maximum=maximum)


def _create_runtime(module: TensorRT, logger: Any, recorder: LogRecorder) -> Runtime:
    with recorder.recording() as messages:
        try:
            return module.Runtime(logger)
        except TypeError as error:  # pybind11's answer to no object, which is TensorRT's to a driver that fails
            package = f"{module.__name__} {module.__version__}"
            reason = failure_reason(messages) if messages else str(error)
            message = f"expected a GPU and driver that {package} runs on, found: {reason}; check nvidia-smi"
            raise DeviceError(message) from error


def _deserialize(runtime: Runtime, plan: bytes, module: TensorRT, recorder: LogRecorder) -> ICudaEngine:
    with recorder.recording() as messages:
        check_validity(runtime, plan, module, messages)
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is not None:
        return engine
    package, reason = f"{module.__name__} {module.__version__}", failure_reason(messages)
    if "cudaError" in reason:
        message = f"expected a GPU that {package} runs on, found: {reason}; check nvidia-smi"
        raise DeviceError(message)
    message = f"expected a plan that {package} can run on this GPU, found: {reason}; {REBUILD}"
    raise EngineError(message)
