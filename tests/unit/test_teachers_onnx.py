"""Teachers in ONNX files: what they are fed, and the zoo's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from messages import raises_naming
from networks import random_images
from onnx import ModelProto, NodeProto, TensorProto, helper
from onnx_graphs import model, node, random, save

from efq.runtime.errors import CheckpointError, UsageError
from efq.runtime.lineage.lineage import IN_FILE
from efq.toolchain.graph.from_onnx import walk
from efq.toolchain.teachers import Teacher, open_teacher

ZOO = os.environ.get("EFQ_ZOO")
needs_zoo = pytest.mark.skipif(not ZOO, reason="needs the files of EFQ_ZOO")
_SIZE = ("N", 3, 112, 112)
_WEIGHTS = {
    "w": random(8, 3, 7, 7),
    "g": random(128, 16),
    "mean": np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1),
    "std": np.array([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1),
    "places": np.array([2, 1, 0]),
    "three": np.ones(3),
    "mu": np.array([130.0, 110, 100]),
    "nil": np.array([0.1, 0, -0.1]),
    "var": np.array([3900.0, 3600, 3500]),
    **{name: np.float32(value) for name, value in zip("sm", (127.5, 1 / 128), strict=True)},
    **{name: np.float32(value) for name, value in (("zero", 0), ("one", 1), ("two", 2))},
}


def recognizer(
    *first: NodeProto, image: str = "x", shape: Any = _SIZE, kind: int = TensorProto.FLOAT, **weights: Any
) -> ModelProto:
    """Nodes at the image, then a convolution, a pool and a product."""
    nodes = [
        *first,
        node("Conv", [image, "w"], "c", strides=[7, 7]),
        node("Relu", ["c"], "r"),
        node("AveragePool", ["r"], "p", kernel_shape=[4, 4], strides=[4, 4]),
        node("Flatten", ["p"], "f"),
        node("MatMul", ["f", "g"]),
    ]
    return model(nodes, _WEIGHTS | weights, shape=shape, kind=kind)


def opened(proto: ModelProto, folder: Path) -> Teacher:
    return open_teacher(save(proto, folder))


def test_a_file_that_says_nothing_is_fed_as_insightface_does(tmp_path: Path) -> None:
    teacher = opened(recognizer(), tmp_path)
    assert (str(teacher.input), teacher.name, teacher.licence) == ("rgb,-1..1", "model", "unknown")
    assert teacher.normalized(random_images(2, size=112)).shape == (2, 16)


SWAP = node("Gather", ["x", "places"], "o", axis=1)
SWAP_LATER = node("Gather", ["o", "places"], "a", axis=1)
INSIDE: dict[str, tuple[list[NodeProto], str]] = {
    "of bytes": ([node("Sub", ["x", "s"], "a"), node("Mul", ["a", "m"], "b")], "rgb,0..255"),
    "by names alone": ([node("Sub", ["x", "zero"], "a"), node("Mul", ["a", "one"], "b")], "rgb,0..255"),
    "by a scale": ([node("Mul", ["x", "m"], "b")], "rgb,0..255"),
    "of each channel": ([node("Sub", ["x", "mean"], "a"), node("Div", ["a", "std"], "b")], "rgb,0..1"),
    "of BGR": ([SWAP, node("Sub", ["o", "mean"], "a"), node("Div", ["a", "std"], "b")], "rgb,0..1"),
    "of BGR later": ([node("Sub", ["x", "mean"], "o"), SWAP_LATER, node("Div", ["a", "std"], "b")], "rgb,0..1"),
    "of -1 to 1": ([node("Add", ["x", "one"], "a"), node("Div", ["a", "two"], "b")], "rgb,-1..1"),
    "by a BatchNorm": ([node("BatchNormalization", ["x", "three", "three", "mu", "var"], "b")], "rgb,0..255"),
    "behind a BatchNorm": ([node("BatchNormalization", ["x", "three", "three", "nil", "three"], "b")], "rgb,-1..1"),
}


@pytest.mark.parametrize("name", INSIDE)
def test_a_normalization_inside_says_what_is_fed(tmp_path: Path, name: str) -> None:
    nodes, told = INSIDE[name]
    teacher = opened(recognizer(*nodes, image="b"), tmp_path)
    assert str(teacher.input) == told
    assert any(told in note for note in teacher.notes)


def test_images_of_bytes_with_channels_last(tmp_path: Path) -> None:
    first = [node("Cast", ["x"], "a", to=1), node("Transpose", ["a"], "b", perm=[0, 3, 1, 2])]
    proto = recognizer(*first, image="b", shape=("N", 112, 112, 3), kind=TensorProto.UINT8)
    assert str(opened(proto, tmp_path).input) == "rgb,0..255"


def test_gray_images(tmp_path: Path) -> None:
    proto = recognizer(shape=("N", 1, 112, 112), w=random(8, 1, 7, 7))
    teacher = opened(proto, tmp_path)
    assert teacher.color_order == "gray"
    assert teacher.normalized(random_images(2, size=112)).shape == (2, 16)


def test_what_is_said_is_the_input_of_the_file(tmp_path: Path) -> None:
    first = [node("Sub", ["x", "s"], "a"), node("Mul", ["a", "m"], "b")]
    path = save(recognizer(*first, image="b"), tmp_path)
    images = random_images(2, size=112)
    told, silent = (open_teacher(path, teacher_input=text).normalized(images) for text in ("0..255", None))
    torch.testing.assert_close(told, silent)


def test_the_teacher_check_compares_with_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = opened(recognizer(), tmp_path)
    assert teacher.verify is not None
    images = random_images(3, size=112).numpy()
    teacher.verify(teacher.input, images)
    with raises_naming(CheckpointError, "112x112", "56x56"):
        teacher.verify(teacher.input, images[:, ::2, ::2])
    monkeypatch.setattr(walk, "OPERATORS", {**walk.OPERATORS, "Relu": walk.OPERATORS["Sigmoid"]})
    with raises_naming(CheckpointError, "Relu", "model.onnx"):
        teacher.verify(teacher.input, images)


@pytest.mark.parametrize("place", ["metadata", "description", "graph"])
def test_the_licence_in_the_file(place: str, tmp_path: Path) -> None:
    proto = recognizer()
    if place == "metadata":
        helper.set_model_props(proto, {"License": "Creative Commons BY-NC 4.0"})
    else:
        (proto if place == "description" else proto.graph).doc_string = "Trained by x.\nLicense: CC BY-NC 4.0"
    teacher = opened(proto, tmp_path)
    assert (teacher.licence, teacher.licence_source) == ("CC-BY-NC-4.0", IN_FILE)


def test_a_backbone_is_no_option_of_an_onnx_file(tmp_path: Path) -> None:
    with raises_naming(UsageError, "mobilefacenet"):
        open_teacher(save(recognizer(), tmp_path), "mobilefacenet")


@needs_zoo
@pytest.mark.parametrize(
    ("name", "told", "size", "licence"),
    [
        ("sface_2021dec_dequant_fp32.onnx", "rgb,0..255", 128, "Apache-2.0"),
        ("face_recognition_sface_2021dec_int8bq.onnx", "rgb,0..255", 128, "Apache-2.0"),
        ("faceplugin_mobilefacenet512.onnx", "bgr,-1..1", 512, "MIT"),
    ],
)
def test_recognizers_of_the_zoo(name: str, told: str, size: int, licence: str) -> None:
    teacher = open_teacher(Path(str(ZOO)) / name)
    assert (str(teacher.input), teacher.licence) == (told, licence)
    assert teacher.normalized(random_images(2, size=112)).shape == (2, size)


@needs_zoo
@pytest.mark.parametrize("name", ["scrfd_2.5g_bnkps.onnx", "yunet_2023mar_dequant_fp32.onnx"])
def test_detectors_of_the_zoo_have_no_embedding(name: str) -> None:
    with raises_naming(CheckpointError, "embedding", name):
        open_teacher(Path(str(ZOO)) / name)
