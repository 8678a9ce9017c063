"""Operators that are refused for a reason of their own."""

from __future__ import annotations

from typing import NoReturn

from efq.toolchain.graph.from_onnx.operator_call import OperatorCall
from efq.toolchain.graph.from_onnx.refusal import refuse

_QUANTIZED = (
    "a network that is already quantized",
    "students are made from float networks: give the one that this file came from",
)
_RESIZED = ("features that are resized, as detectors do", "give a network that embeds a face, (N, d)")
_MIXED = ("pixels moved to channels or back", "write it as slices in the network")
_ATTENTION = (
    "a softmax",
    "a classifier's is cut off with onnx.utils.extract_model; attention has no form in integers",
)
_CONTROL = ("control flow", "export the network without it, or simplify the file: onnxsim")

REFUSED: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"), _QUANTIZED),
    **dict.fromkeys(("QLinearAdd", "QLinearMul", "QLinearGlobalAveragePool", "QLinearAveragePool"), _QUANTIZED),
    **dict.fromkeys(("QLinearLeakyRelu", "QLinearSigmoid", "QLinearConcat", "QGemm"), _QUANTIZED),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), _QUANTIZED),
    **dict.fromkeys(("Resize", "Upsample", "ConvTranspose", "GridSample", "NonMaxSuppression", "TopK"), _RESIZED),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _MIXED),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Attention"), _ATTENTION),
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), _CONTROL),
}
_ADVICE = (
    "compute it from convolutions, products, sums, pools and activations in the network, and export it again "
    "(docs/teachers.md)"
)


def refuse_operator(call: OperatorCall) -> NoReturn:
    """Raises OnnxRefusalError."""
    operator = call.node.op_type
    if operator in REFUSED:
        refuse(*REFUSED[operator])
    domain = call.node.domain
    if domain not in ("", "ai.onnx"):
        advice = "give the file as it was exported, before a runtime optimized it"
        refuse(f"an operator of the domain {domain[:60]!r}", advice)
    refuse("an operator without a form in torch", _ADVICE)
