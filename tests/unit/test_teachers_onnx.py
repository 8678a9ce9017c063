"""Teachers in ONNX files: what they are fed, and the zoo's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from messages import raises_naming
from networks import random_images
from onnx import ModelProto
from onnx_graphs import model, node, random, save

from efq.runtime.errors import CheckpointError, UsageError
from efq.toolchain.teachers import Teacher, open_teacher

ZOO = os.environ.get("EFQ_ZOO")
needs_zoo = pytest.mark.skipif(not ZOO, reason="needs the files of EFQ_ZOO")
_SIZE = ("N", 3, 112, 112)
_WEIGHTS = {"w": random(8, 3, 7, 7), "g": random(128, 16), "s": np.float32(127.5), "d": np.float32(128)}


def recognizer(*first: object, image: str = "x", **options: object) -> ModelProto:
    """Nodes at the image, then a convolution, a pool and a product."""
    nodes = [
        *first,
        node("Conv", [image, "w"], "c", strides=[7, 7]),
        node("Relu", ["c"], "r"),
        node("AveragePool", ["r"], "p", kernel_shape=[4, 4], strides=[4, 4]),
        node("Flatten", ["p"], "f"),
        node("MatMul", ["f", "g"]),
    ]
    return model(nodes, _WEIGHTS, shape=_SIZE, **options)  # type: ignore[arg-type]


def opened(proto: ModelProto, folder: Path) -> Teacher:
    return open_teacher(save(proto, folder))


def test_a_file_that_says_nothing_is_fed_as_insightface_does(tmp_path: Path) -> None:
    teacher = opened(recognizer(), tmp_path)
    assert (str(teacher.input), teacher.name, teacher.licence) == ("rgb,-1..1", "model", "unknown")
    assert teacher.normalized(random_images(2, size=112)).shape == (2, 16)


def test_a_normalization_inside_is_taken_out(tmp_path: Path) -> None:
    first = [node("Sub", ["x", "s"], "a"), node("Div", ["a", "d"], "b")]
    teacher = opened(recognizer(*first, image="b"), tmp_path)
    assert str(teacher.input) == "rgb,127.5/128"
    images = random_images(2, size=112)
    whole = opened(recognizer(), tmp_path)
    pixels = (images.permute(0, 3, 1, 2).float() - 127.5) / 128
    torch.testing.assert_close(teacher.normalized(images), whole.network(pixels))


def test_a_backbone_is_no_option_of_an_onnx_file(tmp_path: Path) -> None:
    with raises_naming(UsageError, "mobilefacenet"):
        open_teacher(save(recognizer(), tmp_path), "mobilefacenet")


@needs_zoo
@pytest.mark.parametrize(
    ("name", "told", "size", "licence"),
    [
        ("sface_2021dec_dequant_fp32.onnx", "rgb,127.5/128", 128, "Apache-2.0"),
        ("face_recognition_sface_2021dec_int8bq.onnx", "rgb,127.5/128", 128, "Apache-2.0"),
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
