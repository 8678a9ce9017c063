"""Every ONNX operator that has a torch form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from efq.toolchain.graph.from_onnx.operator_call import OperatorCall
from efq.toolchain.graph.from_onnx.operators.activations import ACTIVATIONS
from efq.toolchain.graph.from_onnx.operators.elementwise import ELEMENTWISE
from efq.toolchain.graph.from_onnx.operators.movement import MOVEMENT
from efq.toolchain.graph.from_onnx.operators.plain_values import PLAIN_VALUES
from efq.toolchain.graph.from_onnx.operators.pooling import (
    average_pool,
    global_average_pool,
    global_max_pool,
    max_pool,
)
from efq.toolchain.graph.from_onnx.operators.reductions import REDUCTIONS
from efq.toolchain.graph.from_onnx.operators.weighted import batch_norm, convolution, gemm, matrix_product

OPERATORS: Mapping[str, Callable[[OperatorCall], Any]] = MappingProxyType(
    {
        "Conv": convolution,
        "Gemm": gemm,
        "MatMul": matrix_product,
        "BatchNormalization": batch_norm,
        "MaxPool": max_pool,
        "AveragePool": average_pool,
        "GlobalAveragePool": global_average_pool,
        "GlobalMaxPool": global_max_pool,
        **ELEMENTWISE,
        **ACTIVATIONS,
        **MOVEMENT,
        **REDUCTIONS,
        **PLAIN_VALUES,
    }
)
"""By name: from a call to its output, or to a list of them."""
