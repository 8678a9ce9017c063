"""The layers of an engine, read from each form TensorRT gives them in."""

from __future__ import annotations

import json

import pytest

from efq.runtime.errors import EngineBuildError
from efq.runtime.tensorrt.build.layers import Layer, layers_of_inspector, layers_of_log

# TensorRT-RTX 1.7, a verbose build log, shortened.
RTX_LOG = """[VERBOSE] Total Weights Memory: 1237636 bytes
[VERBOSE] Layers:
Name: stem.conv_myl0_2, LayerType: correlation, Inputs: [ { Name: a, Dimensions: [-1,4,112,112], Strides: [50176,1,448,4], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }], Constants: [ { Name: b, Dimensions: [64,4,3,3], Datatype: Int8, Format: (NHWC) Channel major format }, { Name: c, Dimensions: [1,64,1,1], Datatype: Float, Format: (NHWC) Channel major format }], Outputs: [ { Name: d, Dimensions: [-1,64,56,56], Datatype: Float, Format: (NHWC) Channel major format }], TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: stem.conv][ONNX Layer: stem.conv_weight]
Name: __myl_Mul_myl0_3, LayerType: kgen, Inputs: [ { Name: d, Dimensions: [-1,64,56,56], Datatype: Float, Format: x }], Constants: [], Outputs: [ { Name: e, Dimensions: [-1,64,56,56], Datatype: Int8, Format: x }], TacticName: __myl_Mul_0xc6, StreamId: 0, Metadata: [ONNX Layer: stem.conv][ONNX Layer: stem.prelu]
"""  # noqa: E501

CONVOLUTION = Layer(
    name="conv1 + PWN(relu1)",
    kind="CaskConvolution",
    inputs=("int8",),
    constants=("int8",),
    outputs=("int8",),
    tactic="sm80_xmma_fprop",
    nodes=("conv1", "relu1"),
)


def tensor(**fields: object) -> dict[str, object]:
    return {"Name": "t", "Dimensions": [1, 64, 56, 56], **fields}


def entry(inputs: dict[str, object], outputs: dict[str, object], **fields: object) -> dict[str, object]:
    return {
        "Name": "conv1 + PWN(relu1)",
        "LayerType": "CaskConvolution",
        "Inputs": [inputs],
        "Outputs": [outputs],
        "Weights": {"Type": "Int8", "Count": 9408},
        "TacticName": "sm80_xmma_fprop",
        **fields,
    }


def test_the_build_log() -> None:
    convolution, pointwise = layers_of_log(RTX_LOG)
    assert convolution == Layer(
        name="stem.conv_myl0_2",
        kind="correlation",
        inputs=("int8",),
        constants=("int8", "float32"),
        outputs=("float32",),
        tactic="__myelin_CASK_STUB",
        nodes=("stem.conv", "stem.conv_weight"),
    )
    assert (convolution.is_product, convolution.is_integer) == (True, True)
    assert (pointwise.kind, pointwise.is_product, pointwise.outputs) == ("kgen", False, ("int8",))


def test_the_older_build_log() -> None:
    """TensorRT 10's `Engine Layer Information:` lines."""
    text = (
        "Engine Layer Information:\n"
        "Layer(Reformat): Reformatting CopyNode for Input Tensor 0 to conv1, Tactic: 0x00000000000003e8, "
        "images (Float[1,3,112,112]) -> Reformatted Input Tensor 0 to conv1 (Int8[1,3:4,112,112])\n"
        "Layer(CaskConvolution): conv1 + PWN(relu1), Tactic: 0x4, r (Int8[1,3:4,112,112]) -> q (Int8[1,64:32,56,56])\n"
        "Layer(CaskGemmConvolution): fc, Tactic: 0x2, a (Half[1,512,1,1]), b (Float[1,2]) -> e (Half[1,128,1,1])\n"
    )
    reformat, convolution, product = layers_of_log(text)
    assert (reformat.is_reformat, reformat.inputs, reformat.outputs) == (True, ("float32",), ("int8",))
    assert (convolution.is_product, convolution.is_integer) == (True, True)
    assert {"conv1", "relu1"} <= set(convolution.nodes)
    assert (product.inputs, product.is_integer) == (("float16", "float32"), False)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}, "Bindings"),
        ({"Format": "(NHWC) Channel major format", "Datatype": "Int8"}, "I/O Tensors"),
    ],
    ids=["TensorRT 10", "TensorRT 11"],
)
def test_the_inspectors_json(fields: dict[str, object], key: str) -> None:
    layer = entry(tensor(**fields), tensor(**fields), Metadata="[ONNX Layer: conv1][ONNX Layer: relu1]")
    assert layers_of_inspector(json.dumps({"Layers": [layer], key: []})) == (CONVOLUTION,)


def test_types_of_tensorrt_10_in_words() -> None:
    def inputs_of(text: str) -> tuple[str, ...]:
        layer = entry(tensor(**{"Format/Datatype": text}), tensor())
        return layers_of_inspector(json.dumps({"Layers": [layer]}))[0].inputs

    assert inputs_of("Row major linear FP32") == ("float32",)
    assert inputs_of("Two wide channel vectorized row major FP16 format") == ("float16",)
    assert inputs_of("something new") == ("unknown",)


def test_float_weights_are_not_integer() -> None:
    layer = entry(tensor(Datatype="Int8"), tensor(Datatype="Half"), Weights={"Type": "Half", "Count": 1})
    assert not layers_of_inspector(json.dumps({"Layers": [layer]}))[0].is_integer


def test_nothing_to_read_is_an_error() -> None:
    for text in ("", "no layers here", '{"Layers": ["conv1", "conv2"]}'):
        with pytest.raises(EngineBuildError):
            layers_of_inspector(text) if text.startswith("{") else layers_of_log(text)
    with pytest.raises(EngineBuildError):
        layers_of_inspector("[]")
