"""How execution contexts run, as far as a module lets one choose. Told by looking: 10.3 has none of it."""

from __future__ import annotations

import logging
from typing import Any

from efq.runtime.tensorrt.api import TensorRT
from efq.runtime.tensorrt.interfaces import ICudaEngine, IRuntimeCache


class RuntimeSettings:
    """What `create_execution_context` is given: contexts that bring no device memory of their own.

    TensorRT-RTX also gets its cache of compiled kernels and makes CUDA graphs itself, and it compiles the kernels of
    a batch size when it first sees it (EAGER). By default it would do so in the background and switch kernels, and
    with them the last bits of the embeddings, in between two calls.
    """

    def __init__(self, engine: ICudaEngine, module: TensorRT, *, cuda_graphs: bool, runtime_cache: bytes) -> None:
        self._cache: IRuntimeCache | None = None
        self.runtime_makes_graphs = False
        self.context_argument: Any = module.ExecutionContextAllocationStrategy.USER_MANAGED
        if not hasattr(engine, "create_runtime_config"):
            return
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self.context_argument)
        if hasattr(config, "dynamic_shapes_kernel_specialization_strategy"):
            strategies = module.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        if hasattr(config, "cuda_graph_strategy"):
            graphs = module.CudaGraphStrategy
            config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if cuda_graphs else graphs.DISABLED
            self.runtime_makes_graphs = cuda_graphs
        if hasattr(config, "create_runtime_cache"):
            self._cache = config.create_runtime_cache()
            if runtime_cache and not self._cache.deserialize(runtime_cache):
                message = "the runtime cache is of another GPU, driver or TensorRT-RTX: kernels are compiled again"
                logging.getLogger(__name__).warning(message)
            config.set_runtime_cache(self._cache)
        self.context_argument = config

    def serialized_runtime_cache(self) -> bytes:
        """The kernels compiled so far, to be given to the next process; empty where there is no such cache."""
        serialized = self._cache.serialize() if self._cache is not None else None
        return bytes(serialized) if serialized is not None else b""
