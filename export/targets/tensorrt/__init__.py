"""TensorRT and TensorRT-RTX on NVIDIA GPUs."""

from __future__ import annotations

from efq.export.targets.tensorrt.target import TensorRTTarget

TRT = TensorRTTarget(
    name="trt",
    description="TensorRT 10 and 11 on NVIDIA GPUs: int8 activations with zero point 0, int8 weights per channel, "
    "float16 in between; the engine is built on the GPU it runs on",
)
TRT_RTX = TensorRTTarget(
    name="trt-rtx",
    description="TensorRT-RTX on NVIDIA RTX GPUs: the same graph; the engine is built on any machine for named GPUs",
)
