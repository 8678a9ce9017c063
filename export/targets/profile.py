"""What a runtime fuses into integer kernels: the profile the exporter lowers a student's scales to."""

from __future__ import annotations

import dataclasses

from efq.runtime.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetProfile:
    """How activations and weights are stored for a target.

    activations: "uint8" stores a signed grid shifted by 128, the same integers, with its zero point in the graph;
    "int8" is symmetric, with zero point 0.
    products_saturate: on some CPUs the runtime's fast kernels add products of bytes in 16 bits that saturate, so that
    weights take 7 bits unless asked otherwise (efq.export.reduced_range).
    opset, ir_version: of the ONNX graph. has_engine: whether the runtime builds an engine from it.
    least_cosine: between the student computed in integers and the artifact in its runtime; below it the export went
    wrong. A runtime that rounds as the reference does is held to 0.999, another one to what rounding explains.
    four_pixel_stem: the first convolution reads four pixels at a time (efq.export.qdq.four_pixel_stem).
    prelu_operator: an exact PReLU behind a convolution is the operator PRelu, which the runtime fuses into the
    convolution's integer kernel; otherwise it is a depthwise convolution and a maximum of bytes.
    quantized_image: the image passes a QuantizeLinear of its own scale, which changes nothing but that the runtime
    takes it for quantized.
    """

    name: str
    activations: str
    opset: int
    ir_version: int
    description: str
    products_saturate: bool = False
    has_engine: bool = False
    least_cosine: float = 0.999
    four_pixel_stem: bool = False
    prelu_operator: bool = False
    quantized_image: bool = False


ORT_CPU = TargetProfile(
    name="ort-cpu",
    activations="uint8",
    opset=21,
    ir_version=10,
    description="ONNX Runtime on CPUs: uint8 activations, int8 weights per channel, int32 bias with scale x * w",
    products_saturate=True,
    four_pixel_stem=True,
)

# Without its own QuantizeLinear the image's zero point makes OpenVINO run the first convolution in float32.
OPENVINO = dataclasses.replace(
    ORT_CPU,
    name="openvino",
    description="OpenVINO on CPUs: the graph of ort-cpu, whose first convolution OpenVINO runs as it is",
    least_cosine=0.97,
    four_pixel_stem=False,
    prelu_operator=True,
    quantized_image=True,
)

TENSORRT = TargetProfile(
    name="trt",
    activations="int8",
    opset=19,
    ir_version=9,
    has_engine=True,
    description="TensorRT 10 and 11 on NVIDIA GPUs: int8 activations with zero point 0, int8 weights per channel, "
    "float16 in between; the engine is built on the GPU it runs on",
)
TENSORRT_RTX = dataclasses.replace(
    TENSORRT,
    name="trt-rtx",
    description="TensorRT-RTX on NVIDIA RTX GPUs: the same graph; the engine is built on any machine for named GPUs",
)

TARGETS = {profile.name: profile for profile in (ORT_CPU, OPENVINO, TENSORRT, TENSORRT_RTX)}


def find_target(name: str) -> TargetProfile:
    """The profile of that name. Raises UsageError when there is none."""
    if name not in TARGETS:
        message = f"unknown target {name!r}: expected one of {', '.join(sorted(TARGETS))}"
        raise UsageError(message)
    return TARGETS[name]
