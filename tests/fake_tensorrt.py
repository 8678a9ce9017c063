"""TensorRT without a GPU: the real enums and logger of tensorrt_rtx around an engine computed by NumPy on a FakeCuda.

An engine of an ONNX file (`make_onnx_plan`) is computed by ONNX Runtime.

Three forms, by what they have: "10.3" no runtime configuration, "10.16" one for memory only, "rtx" all of it.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
from fake_cuda import FakeCuda
from numpy.typing import NDArray

from efq.runtime.tensorrt.run.model import TensorRTModel

trt = pytest.importorskip("tensorrt_rtx")

SHAPE = (8, 8, 3)
SIZE = 16
LIMITS = (2, 8, 32)
ACTIVATION_BYTES = 4096
HEADER = b"fake plan       "

ENUMS = (
    *("CudaGraphStrategy", "DataType", "DynamicShapesKernelSpecializationStrategy", "EngineInvalidityDiagnostics"),
    *("EngineValidity", "ExecutionContextAllocationStrategy", "TensorIOMode"),
)


def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the engine computes: whole numbers to unit length, so the same bits in every batch."""
    weights = np.random.default_rng(0).integers(-128, 128, (int(np.prod(SHAPE)), SIZE))
    products = images.reshape(len(images), -1).astype(np.int64) @ weights + 1
    return (products / np.sqrt((products**2).sum(1, keepdims=True))).astype(np.float32)


def make_plan(limits: tuple[int, int, int] = LIMITS, **changes: Any) -> bytes:
    """A plan of the fake; `changes` replace parts of its description."""
    description = {
        "inputs": [["images", "UINT8", [-1, *SHAPE]]],
        "outputs": [["embeddings", "FLOAT", [-1, SIZE]]],
        "profile": [[size, *SHAPE] for size in limits],
        "host_code": False,
        "capturable": True,
        "diagnostics": 0,
        "milliseconds": 0.0,
        "onnx": None,
    }
    return HEADER + json.dumps(description | changes).encode()


def make_onnx_plan(path: Path, limits: tuple[int, int, int], **changes: Any) -> bytes:
    """A plan that computes the ONNX file at `path` in ONNX Runtime."""
    (images,), (embeddings,) = (onnx.load(path).graph.input, onnx.load(path).graph.output)
    shapes = [[d.dim_value for d in port.type.tensor_type.shape.dim][1:] for port in (images, embeddings)]
    dtype = onnx.TensorProto.DataType.Name(onnx.load(path).graph.input[0].type.tensor_type.elem_type)
    ports = {
        "inputs": [["images", dtype, [-1, *shapes[0]]]],
        "outputs": [["embeddings", "FLOAT", [-1, *shapes[1]]]],
        "profile": [[size, *shapes[0]] for size in limits],
    }
    return make_plan(limits, onnx=str(path), **ports | changes)


def make_module(cuda: FakeCuda, form: str = "10.3") -> Any:
    """The module: `module.engines` are the engines it deserialized."""
    enums = {name: getattr(trt, name) for name in ENUMS if form == "rtx" or hasattr(BaseEnums, name)}
    module = SimpleNamespace(
        __name__="tensorrt_rtx" if form == "rtx" else "tensorrt",
        __version__=form,
        ILogger=trt.ILogger,
        form=form,
        cuda=cuda,
        engines=[],
        **enums,
    )
    kind = RtxRuntime if form == "rtx" else Runtime
    module.Runtime = lambda logger: kind(logger, module)
    return module


def faces(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def open_model(
    cuda: FakeCuda, form: str = "10.3", plan: bytes | None = None, **options: Any
) -> tuple[TensorRTModel, Any]:
    module = make_module(cuda, form)
    return TensorRTModel(plan or make_plan(), module=module, cuda=cuda, **options), module


def _compute(path: str) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["embeddings"], {"images": images})[0]  # type: ignore[no-any-return]


class BaseEnums:
    """Those of ENUMS that TensorRT has as well."""

    DataType = ExecutionContextAllocationStrategy = TensorIOMode = True


class Runtime:
    def __init__(self, logger: Any, module: Any) -> None:
        self.logger = logger
        self.module = module
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if not plan.startswith(HEADER):
            return self._refuse("Serialization assertion magicTag == kMAGIC_TAG failed.")
        description = json.loads(plan[len(HEADER) :])
        if description["diagnostics"]:
            return self._refuse("Cuda Runtime (cudaError 35: CUDA driver version is insufficient)")
        if description["host_code"] and not self.engine_host_code_allowed:
            return self._refuse("Runtime needs engine_host_code_allowed for this plan.")
        engine = (Engine if self.module.form == "10.3" else ConfigurableEngine)(description, self)
        self.module.engines.append(engine)
        return engine

    def _refuse(self, reason: str) -> None:
        self.logger.log(trt.ILogger.ERROR, reason)
        self.logger.log(trt.ILogger.ERROR, "catchCudaError: an error that only follows")


class RtxRuntime(Runtime):
    engine_header_size = len(HEADER) + 1000

    def get_engine_validity(self, header: bytes) -> tuple[Any, int]:
        if not header.startswith(HEADER):
            return trt.EngineValidity.INVALID, int(trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE)
        bits = json.loads(header[len(HEADER) :])["diagnostics"]
        if bits < 0:  # CUDA did not answer
            self.logger.log(trt.ILogger.INTERNAL_ERROR, "Error reading CUDA GPU properties ... cudaError 35")
            return trt.EngineValidity.INVALID, 0
        return trt.EngineValidity.INVALID if bits else trt.EngineValidity.SUBOPTIMAL, bits


class Engine:
    device_memory_size_v2 = ACTIVATION_BYTES

    def __init__(self, description: dict[str, Any], runtime: Runtime) -> None:
        self.description = description
        self.runtime = runtime
        self.cuda: FakeCuda = runtime.module.cuda
        self.ports = [(*port, "INPUT") for port in description["inputs"]]
        self.ports += [(*port, "OUTPUT") for port in description["outputs"]]
        self.num_io_tensors = len(self.ports)
        self.contexts: list[Context] = []
        self.refuse_contexts = False
        self.refuse_execution = False
        self.memory_users: dict[int, int] = {}
        self.compute = embed if description["onnx"] is None else _compute(description["onnx"])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.description["inputs"][0][2][1:])

    @property
    def size(self) -> int:
        return int(self.description["outputs"][0][2][1])

    def get_tensor_name(self, index: int) -> str:
        return str(self.ports[index][0])

    def get_tensor_dtype(self, name: str) -> Any:
        return getattr(trt.DataType, self._port(name)[1])

    def get_tensor_shape(self, name: str) -> Any:
        return trt.Dims(self._port(name)[2])

    def get_tensor_mode(self, name: str) -> Any:
        return getattr(trt.TensorIOMode, self._port(name)[3])

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Any]:
        assert profile == 0
        assert self._port(name)[3] == "INPUT"
        return [trt.Dims(shape) for shape in self.description["profile"]]

    def create_execution_context(self, how: Any) -> Context | None:
        if self.refuse_contexts:
            self.runtime.logger.log(trt.ILogger.ERROR, "out of memory for the context")
            return None
        assert self.strategy_of(how) == trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self.contexts.append(Context(self))
        return self.contexts[-1]

    def strategy_of(self, how: Any) -> Any:
        return how

    def _port(self, name: str) -> Any:
        return next(port for port in self.ports if port[0] == name)


class ConfigurableEngine(Engine):
    def create_runtime_config(self) -> Config:
        return RtxConfig() if self.runtime.module.form == "rtx" else Config()

    def strategy_of(self, how: Any) -> Any:
        assert isinstance(how, Config)
        return how.strategy


class Config:
    strategy: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy


class RuntimeCache:
    def __init__(self) -> None:
        self.blob = b"compiled kernels"

    def deserialize(self, blob: bytes) -> bool:
        return blob == self.blob

    def serialize(self) -> bytes:
        return self.blob


class RtxConfig(Config):
    made: ClassVar[list[RtxConfig]] = []

    def __init__(self) -> None:
        self.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED
        self.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.LAZY
        self.cache: RuntimeCache | None = None
        self.made.append(self)

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


@dataclasses.dataclass(frozen=True)
class State:
    """What a run of a context depends on."""

    batch: int = 0
    addresses: tuple[tuple[str, int], ...] = ()
    memory: tuple[int, int] = (0, 0)


class Context:
    """An execution context that knows when it is misused."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.state = State()
        self.launched: State | None = None
        self._lock = threading.Lock()

    def set_device_memory(self, address: int, size: int) -> None:
        self.engine.cuda.memory(address, size)
        assert size >= ACTIVATION_BYTES
        self.state = dataclasses.replace(self.state, memory=(address, size))

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = (size[0] for size in self.engine.description["profile"])
        assert name == self.engine.description["inputs"][0][0]
        if tuple(shape[1:]) != self.engine.shape or not low <= shape[0] <= high:
            return False
        self.state = dataclasses.replace(self.state, batch=shape[0])
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.engine.cuda.memory(address, 1)
        addresses = dict(self.state.addresses) | {name: address}
        self.state = dataclasses.replace(self.state, addresses=tuple(sorted(addresses.items())))
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert self._lock.acquire(blocking=False), "two threads in one execution context"
        try:
            return self._execute(stream)
        finally:
            self._lock.release()

    def _execute(self, stream: int) -> bool:
        engine, state = self.engine, self.state
        if engine.refuse_execution:
            engine.runtime.logger.log(trt.ILogger.ERROR, "enqueue failed")
            return False
        if engine.cuda.is_capturing(stream):
            assert self.launched == state, "captured before the context was prepared for its shapes and addresses"
            if not engine.description["capturable"]:
                engine.cuda.break_capture(stream)
                engine.runtime.logger.log(trt.ILogger.ERROR, "a layer synchronizes and cannot be captured")
                return False
        owner = engine.memory_users.setdefault(state.memory[0], stream)
        assert owner == stream, "device memory of another stream"
        source, destination = self._buffers(state)
        self.launched = state

        def run() -> None:
            assert self.state == state, "a graph whose execution context was changed after the capture"
            engine.cuda.memory(*state.memory)
            assert self._buffers(state)[0] is not None
            embeddings = engine.compute(source.reshape(-1, *engine.shape))
            destination[:] = np.ascontiguousarray(embeddings).view(np.uint8).reshape(-1)
            engine.cuda.spend(engine.description["milliseconds"])

        engine.cuda.enqueue(stream, run)
        return True

    def _buffers(self, state: State) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        addresses = dict(state.addresses)
        dtype = np.dtype({"UINT8": np.uint8, "FLOAT": np.float32}[self.engine.description["inputs"][0][1]])
        size = state.batch * int(np.prod(self.engine.shape)) * dtype.itemsize
        source = self.engine.cuda.memory(addresses["images"], size).view(dtype)
        return source, self.engine.cuda.memory(addresses["embeddings"], state.batch * self.engine.size * 4)
