"""The names of the modules `tensorrt` and `tensorrt_rtx` that EFQ uses: nothing else may be taken from them.

What only some versions have is in OPTIONAL and must be asked for before it is used: with `hasattr`, or by the package's
`builds_ahead` (efq.runtime.tensorrt.module).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from efq.runtime.tensorrt import interfaces


class TensorRT(Protocol):
    """The module `tensorrt` or `tensorrt_rtx`, as `efq.runtime.tensorrt.module.import_tensorrt` gives it."""

    __name__: str
    __version__: str

    Builder: Callable[[Any], interfaces.Builder]
    OnnxParser: Callable[[interfaces.INetworkDefinition, Any], interfaces.OnnxParser]
    Runtime: Callable[[Any], interfaces.Runtime]
    ILogger: Any
    IProgressMonitor: Any

    BuilderFlag: interfaces.BuilderFlag
    ComputeCapability: interfaces.ComputeCapability
    CudaGraphStrategy: interfaces.CudaGraphStrategy
    DataType: interfaces.DataType
    DynamicShapesKernelSpecializationStrategy: interfaces.DynamicShapesKernelSpecializationStrategy
    EngineInvalidityDiagnostics: interfaces.EngineInvalidityDiagnostics
    EngineValidity: interfaces.EngineValidity
    ExecutionContextAllocationStrategy: interfaces.ExecutionContextAllocationStrategy
    HardwareCompatibilityLevel: interfaces.HardwareCompatibilityLevel
    LayerInformationFormat: interfaces.LayerInformationFormat
    MemoryPoolType: interfaces.MemoryPoolType
    NetworkDefinitionCreationFlag: interfaces.NetworkDefinitionCreationFlag
    ProfilingVerbosity: interfaces.ProfilingVerbosity
    TensorIOMode: interfaces.TensorIOMode


OPTIONAL = frozenset(
    {
        # 10.16 and later, and RTX
        "ICudaEngine.create_runtime_config",
        "IRuntimeConfig",
        # RTX alone
        "ComputeCapability",
        "CudaGraphStrategy",
        "DynamicShapesKernelSpecializationStrategy",
        "EngineInvalidityDiagnostics",
        "EngineValidity",
        "IBuilderConfig.num_compute_capabilities",
        "IBuilderConfig.set_compute_capability",
        "IRuntimeCache",
        "IRuntimeConfig.create_runtime_cache",
        "IRuntimeConfig.cuda_graph_strategy",
        "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
        "IRuntimeConfig.set_runtime_cache",
        "Runtime.engine_header_size",
        "Runtime.get_engine_validity",
    }
)
