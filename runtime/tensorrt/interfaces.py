"""The parts of TensorRT's and TensorRT-RTX's Python objects that EFQ uses. Neither package carries types.

A Protocol has the name of the class it stands for. tests/unit/test_tensorrt_api.py holds them against the packages:
every name is in 10.3, 10.16, 11.4 and RTX 1.7, but those in `efq.runtime.tensorrt.api.OPTIONAL`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

Shape = Sequence[int]


class ILogger(Protocol):
    """Receives messages; subclassed. `log(severity, message)` is called from TensorRT's threads."""

    Severity: Any
    log: Any


class IProgressMonitor(Protocol):
    """Receives the progress of a build; subclassed."""

    phase_start: Any
    step_complete: Any
    phase_finish: Any


class IHostMemory(Protocol):
    """Bytes owned by TensorRT; `bytes(memory)` copies them."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class Builder(Protocol):
    """Makes networks and turns them into plans."""

    def create_network(self, flags: int, /) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def create_optimization_profile(self) -> IOptimizationProfile: ...
    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig, /
    ) -> IHostMemory | None: ...


class ITensor(Protocol):
    """A tensor of a network."""

    name: str
    shape: Shape


class INetworkDefinition(Protocol):
    """A network before it is built."""

    num_inputs: int

    def get_input(self, index: int, /) -> ITensor: ...


class ParserError(Protocol):
    """Why the parser refused a graph."""

    def desc(self) -> str: ...


class OnnxParser(Protocol):
    """Fills a network from an ONNX file."""

    num_errors: int

    def parse_from_file(self, path: str, /) -> bool: ...
    def get_error(self, index: int, /) -> ParserError: ...


class IOptimizationProfile(Protocol):
    """The shapes an engine accepts."""

    def set_shape(self, name: str, minimum: Shape, optimum: Shape, maximum: Shape, /) -> None: ...


class ITimingCache(Protocol):
    """Kernel timings of earlier builds."""

    def serialize(self) -> IHostMemory: ...


class IBuilderConfig(Protocol):
    """How to build."""

    builder_optimization_level: int
    profiling_verbosity: Any
    hardware_compatibility_level: Any
    progress_monitor: Any
    num_compute_capabilities: int

    def set_flag(self, flag: Any, /) -> None: ...
    def clear_flag(self, flag: Any, /) -> None: ...
    def set_memory_pool_limit(self, pool: Any, size: int, /) -> None: ...
    def add_optimization_profile(self, profile: IOptimizationProfile, /) -> int: ...
    def create_timing_cache(self, cache: bytes, /) -> ITimingCache: ...
    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool, /) -> bool: ...
    def get_timing_cache(self) -> ITimingCache | None: ...
    def set_compute_capability(self, capability: Any, index: int, /) -> bool: ...


class Runtime(Protocol):
    """Turns plans into engines."""

    engine_host_code_allowed: bool
    engine_header_size: int

    def deserialize_cuda_engine(self, plan: bytes, /) -> ICudaEngine | None: ...
    def get_engine_validity(self, header: bytes, /) -> tuple[Any, int]: ...


class ICudaEngine(Protocol):
    """A network that runs."""

    num_io_tensors: int
    device_memory_size_v2: int

    def get_tensor_name(self, index: int, /) -> str: ...
    def get_tensor_mode(self, name: str, /) -> Any: ...
    def get_tensor_dtype(self, name: str, /) -> Any: ...
    def get_tensor_shape(self, name: str, /) -> Iterable[int]: ...
    def get_tensor_profile_shape(self, name: str, profile: int, /) -> Sequence[Iterable[int]]: ...
    def create_runtime_config(self) -> IRuntimeConfig: ...
    def create_execution_context(self, how: Any, /) -> IExecutionContext | None: ...
    def create_engine_inspector(self) -> EngineInspector: ...


class IRuntimeConfig(Protocol):
    """How execution contexts run."""

    cuda_graph_strategy: Any
    dynamic_shapes_kernel_specialization_strategy: Any

    def set_execution_context_allocation_strategy(self, strategy: Any, /) -> None: ...
    def create_runtime_cache(self) -> IRuntimeCache: ...
    def set_runtime_cache(self, cache: IRuntimeCache, /) -> bool: ...


class IRuntimeCache(Protocol):
    """Kernels that TensorRT-RTX compiled for this GPU."""

    def deserialize(self, blob: bytes, /) -> bool: ...
    def serialize(self) -> IHostMemory | None: ...


class IExecutionContext(Protocol):
    """The state of one run at a time."""

    def set_input_shape(self, name: str, shape: tuple[int, ...], /) -> bool: ...
    def set_tensor_address(self, name: str, address: int, /) -> bool: ...
    def set_device_memory(self, address: int, size: int, /) -> None: ...
    def execute_async_v3(self, stream: int, /) -> bool: ...


class EngineInspector(Protocol):
    """Describes the layers of an engine."""

    def get_engine_information(self, form: Any, /) -> str: ...


class MemoryPoolType(Protocol):
    WORKSPACE: Any


class NetworkDefinitionCreationFlag(Protocol):
    STRONGLY_TYPED: Any


class ProfilingVerbosity(Protocol):
    DETAILED: Any


class HardwareCompatibilityLevel(Protocol):
    AMPERE_PLUS: Any


class BuilderFlag(Protocol):
    VERSION_COMPATIBLE: Any
    TF32: Any


class ComputeCapability(Protocol):
    SM75: Any
    SM80: Any
    SM86: Any
    SM89: Any
    SM120: Any
    SM121: Any


class LayerInformationFormat(Protocol):
    JSON: Any


class TensorIOMode(Protocol):
    INPUT: Any
    OUTPUT: Any


class DataType(Protocol):
    UINT8: Any
    FLOAT: Any


class ExecutionContextAllocationStrategy(Protocol):
    USER_MANAGED: Any


class EngineValidity(Protocol):
    INVALID: Any


class EngineInvalidityDiagnostics(Protocol):
    VERSION_MISMATCH: Any
    UNSUPPORTED_CC: Any
    OLD_CUDA_DRIVER: Any
    OLD_CUDA_RUNTIME: Any
    INSUFFICIENT_GPU_MEMORY: Any
    MALFORMED_ENGINE: Any
    CUDA_ERROR: Any


class CudaGraphStrategy(Protocol):
    WHOLE_GRAPH_CAPTURE: Any
    DISABLED: Any


class DynamicShapesKernelSpecializationStrategy(Protocol):
    EAGER: Any
