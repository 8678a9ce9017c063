"""What a model gives is checked on every call, and a runtime's exceptions are EFQ's, whatever the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from artifacts import EMBEDDING_SIZE, make_artifact, make_manifest, make_model, random_faces
from messages import names, raises_naming
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from efq.runtime import Artifact, DeviceError, Embedder, IncompatibleArtifactError, InputContract
from efq.runtime.artifact.folder import MANIFEST_FILE
from efq.runtime.backends.calls import embed_with, open_model
from efq.runtime.backends.onnxruntime import OnnxRuntimeModel
from efq.runtime.backends.openvino import OpenVinoModel
from efq.runtime.backends.target import OpenOptions
from efq.runtime.targets import find_target

FACES = random_faces(4)  # as many as OpenVINO computes at once
BACKENDS: dict[str, Callable[..., OnnxRuntimeModel | OpenVinoModel]] = {
    "onnxruntime": OnnxRuntimeModel,
    "openvino": OpenVinoModel,
}


def ending_in(*nodes: onnx.NodeProto, **constants: NDArray[np.float32] | NDArray[np.int64]) -> onnx.ModelProto:
    """The tiny model with `nodes` between "unit" and "embeddings"."""
    model = make_model(make_manifest())
    model.graph.node[-1].output[0] = "unit"
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items())
    return model


def times(factor: float) -> onnx.ModelProto:
    return ending_in(helper.make_node("Mul", ["unit", "factor"], ["embeddings"]), factor=np.float32(factor))


def first_row() -> onnx.ModelProto:
    return ending_in(
        helper.make_node("Slice", ["unit", "from", "to", "axis"], ["row"]),
        helper.make_node("Mul", ["unit", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "row"], ["embeddings"]),
        zero=np.float32(0), to=np.array([1]), axis=np.array([0]), **{"from": np.array([0])},
    )  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("model", "fact"),
    [(times(7), "7"), (times(0), "0"), (times(np.nan), "nan"), (times(np.inf), "inf"), (first_row(), "alike")],
    ids=["seven", "zero", "nan", "infinite", "first row"],
)
def test_what_are_no_embeddings_is_refused(tmp_path: Path, backend: str, model: onnx.ModelProto, fact: str) -> None:
    """What the check of the model keeps away is not needed for it."""
    pytest.importorskip(backend)
    artifact = Artifact.open(make_artifact(tmp_path / "artifact", model=model))
    opened = BACKENDS[backend](artifact.model_path, threads=1, reduced_range=True)
    with raises_naming(IncompatibleArtifactError, artifact.directory, backend, fact) as caught:
        embed_with(opened, FACES, artifact=artifact, first=64)
    names(caught.value, 64)
    opened.close()


def with_weights(value: float, bias: float) -> onnx.ModelProto:
    """The tiny model whose matrix product is with `value` alone, and is followed by a bias."""
    model = make_model(make_manifest())
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "linear")
    tensor.CopyFrom(numpy_helper.from_array(np.full((392, EMBEDDING_SIZE), value, np.float32), "linear"))
    model.graph.initializer.append(numpy_helper.from_array(np.full(EMBEDDING_SIZE, bias, np.float32), "bias"))
    model.graph.node[-1].input[0] = "shifted"
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Add", ["raw", "bias"], ["shifted"]))
    return model


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
@pytest.mark.parametrize(("value", "bias"), [(0, 0), (0, 1), (np.nan, 0), (np.inf, 0), (1, 1e9)])
def test_a_model_whose_weights_make_none_is_refused_when_it_is_opened(
    tmp_path: Path, backend: str, value: float, bias: float
) -> None:
    pytest.importorskip("openvino")
    directory = make_artifact(tmp_path / "artifact", model=with_weights(value, bias))
    with raises_naming(IncompatibleArtifactError, directory):
        Embedder.open(directory, backend=backend)


def test_one_image_twice_has_one_embedding_twice(tiny_artifact: Path) -> None:
    faces = FACES[[0, 1, 0, 0]]
    faces[3, 0, 0, 0] ^= 1
    with Embedder.open(tiny_artifact, threads=1) as embedder:
        found = embedder.embed(faces)
    np.testing.assert_array_equal(found[0], found[2])


class Toy:
    """Another package's runtime, which does what it is told."""

    name = "toy"
    metadata: Mapping[str, str]

    def __init__(self, metadata: Mapping[str, str], run: Callable[[NDArray[np.uint8]], object]) -> None:
        self.metadata, self._run, self.is_closed = metadata, run, False

    def check_signature(self, contract: InputContract, embedding_size: int) -> None:
        pass

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._run(images)  # type: ignore[return-value]

    def close(self) -> None:
        self.is_closed = True


def fails(error: Exception) -> Callable[[NDArray[np.uint8]], object]:
    def run(images: NDArray[np.uint8]) -> object:
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (fails(RuntimeError("\n")), IncompatibleArtifactError),
        (fails(KeyError("x")), IncompatibleArtifactError),
        (fails(MemoryError()), DeviceError),
        (fails(RuntimeError("std::bad_alloc")), DeviceError),
        (lambda images: None, IncompatibleArtifactError),
        (lambda images: [[1.0]], IncompatibleArtifactError),
        (lambda images: np.eye(len(images), EMBEDDING_SIZE), IncompatibleArtifactError),
        (lambda images: np.eye(len(images) + 1, EMBEDDING_SIZE, dtype=np.float32), IncompatibleArtifactError),
        (lambda images: np.eye(len(images), EMBEDDING_SIZE, dtype=np.float32), IncompatibleArtifactError),
    ],
)
def test_a_target_of_another_package_is_held_to_the_same(
    tiny_artifact: Path, run: Callable[[NDArray[np.uint8]], object], expected: type[Exception]
) -> None:
    """The last one gives one embedding for every image alone."""
    artifact = Artifact.open(tiny_artifact)
    with Embedder.open(tiny_artifact, threads=1) as embedder:
        metadata = embedder._model.metadata  # type: ignore[union-attr]
    toy = Toy(metadata, run)
    target = dataclasses.replace(find_target("ort-cpu"), name="toy", open=lambda target, artifact, options: toy)
    with raises_naming(expected, tiny_artifact):  # type: ignore[type-var]
        open_model(target, artifact, OpenOptions(device="cpu"))
    assert toy.is_closed


def test_an_error_while_a_target_opens_is_of_the_tree(tiny_artifact: Path) -> None:
    def fail(*arguments: object) -> Toy:
        message = "bad magic"
        raise ValueError(message)

    artifact = Artifact.open(tiny_artifact)
    target = dataclasses.replace(find_target("ort-cpu"), name="toy", open=fail)
    with raises_naming(IncompatibleArtifactError, "toy", "bad magic"):
        open_model(target, artifact, OpenOptions(device="cpu"))
    assert (tiny_artifact / MANIFEST_FILE).exists()
