"""The probe of an artifact: what a service or a user's own pipeline gets wrong is found, what is right is served."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from artifacts import make_artifact, make_manifest
from hypothesis import given
from hypothesis import strategies as st
from messages import names, raises_naming
from networks import NETWORKS, make_student, randomize
from numpy.typing import NDArray
from onnx import numpy_helper

from efq.export import export_student
from efq.export.artifact.probe_face import probe_face
from efq.export.engine_settings import EngineSettings
from efq.runtime import (
    Artifact,
    ChecksumError,
    Embedder,
    IncompatibleArtifactError,
    InputContract,
    InputError,
    Probe,
    ProbeError,
    SchemaError,
)
from efq.runtime.artifact.folder import MANIFEST_FILE, MODEL_FILE, write_checksums
from efq.runtime.backends.calls import open_model
from efq.runtime.backends.model import Model
from efq.runtime.backends.target import OpenOptions, Target
from efq.runtime.probe.png import decode_png, encode_png
from efq.runtime.probe.probe import PROBE_FILE, PROBE_IMAGE_FILE
from efq.runtime.targets import find_target

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small network of random weights, as efq-export writes it."""
    directory = tmp_path_factory.mktemp("probe") / "artifact"
    export_student(make_student(randomize(NETWORKS["bottleneck"]())), "ort-cpu", directory, bits=8)
    return directory


def copy_of(artifact: Path, folder: Path) -> Path:
    directory = folder / "copy"
    directory.mkdir()
    for file in artifact.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    return directory


@dataclasses.dataclass
class Faulty:
    """A runtime that does `fault` to the images before the real one embeds them."""

    model: Model
    fault: Callable[[Images], NDArray[Any]]

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.model.metadata

    def check_signature(self, contract: InputContract, embedding_size: int) -> None:
        self.model.check_signature(contract, embedding_size)

    def run(self, images: Images) -> NDArray[np.float32]:
        return self.model.run(self.fault(images))

    def close(self) -> None:
        self.model.close()


def swapped(images: Images) -> Images:
    return images[..., ::-1]


def flipped(images: Images) -> Images:
    return images[:, :, ::-1]


def normalized(images: Images) -> Images:
    """Before the graph, which normalizes."""
    return ((images - 127.5) / 127.5).clip(0, 255).astype(np.uint8)


def float64(images: Images) -> NDArray[np.float64]:
    return images.astype(np.float64)


def open_with(artifact: Path, fault: Callable[[Images], NDArray[Any]]) -> Model:
    target = find_target("ort-cpu")

    def open_faulty(target: Target, artifact: Artifact, options: OpenOptions) -> Model:
        return Faulty(target_of_its_own(target, artifact, options), fault)

    target_of_its_own, target = target.open, dataclasses.replace(target, open=open_faulty)
    options = OpenOptions(device="cpu", threads=1, backend="onnxruntime")
    return open_model(target, Artifact.open(artifact), options)


def test_what_is_served_as_it_was_exported_opens(artifact: Path) -> None:
    probe = Artifact.open(artifact).probe()
    assert probe is not None
    assert probe.least_cosine == 0.999
    with Embedder.open(artifact, threads=1, backend="onnxruntime") as embedder:
        found = embedder.embed(probe.image[None])
        assert embedder.check_probe() == pytest.approx(1, abs=1e-6)
        assert [probe.check(one) for one in (found, 3 * found[0])] == pytest.approx([1, 1], abs=1e-6)
    open_with(artifact, lambda images: images).close()


@pytest.mark.parametrize("fault", [swapped, normalized, flipped])
def test_a_runtime_that_feeds_something_else_is_refused(artifact: Path, fault: Callable[[Images], Images]) -> None:
    with raises_naming(ProbeError, artifact, "onnxruntime", "0.999"):
        open_with(artifact, fault)
    assert ProbeError.exit_code == 5


def test_pixels_of_float64_are_refused(artifact: Path) -> None:
    with raises_naming(IncompatibleArtifactError, artifact, "onnxruntime"):
        open_with(artifact, float64)
    with (
        Embedder.open(artifact, threads=1, backend="onnxruntime") as embedder,
        raises_naming(InputError, "float64", "uint8"),
    ):
        embedder.embed(np.zeros((1, 28, 28, 3)))  # type: ignore[arg-type]


def test_a_kernel_that_computes_something_else_is_refused(artifact: Path, tmp_path: Path) -> None:
    """The weights of a layer in another order, with checksums that fit."""
    directory = copy_of(artifact, tmp_path)
    model = onnx.load(directory / MODEL_FILE)
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(weights)[::-1]), weights.name))
    onnx.save(model, directory / MODEL_FILE)
    with pytest.raises(ChecksumError):
        Embedder.open(directory, threads=1)
    write_checksums(directory)
    with raises_naming(ProbeError, directory, "onnxruntime"):
        Embedder.open(directory, threads=1, backend="onnxruntime")


def test_a_user_who_prepares_images_finds_the_fault(artifact: Path) -> None:
    probe = Artifact.open(artifact).probe()
    assert probe is not None
    with Embedder.open(artifact, threads=1, backend="onnxruntime") as embedder:
        for fault in (swapped, flipped):
            with raises_naming(ProbeError, "your pipeline", "0.999"):
                probe.check(embedder.embed(fault(probe.image[None])))
    for wrong in (np.zeros(16), np.full(16, np.nan), np.ones(15), np.ones((2, 16)), "none"):
        with raises_naming(InputError, 16):
            probe.check(wrong)


def test_a_backend_within_a_tolerance_is_served(artifact: Path, tmp_path: Path) -> None:
    """Half a step of noise in one pixel in ten is no fault for another runtime, and is one for an exact target."""
    probe = Artifact.open(artifact).probe()
    assert probe is not None
    near = np.cos(np.arccos(0.98))
    direction = np.roll(probe.embedding, 1).astype(np.float64)
    direction -= direction @ probe.embedding * probe.embedding
    found = near * probe.embedding + np.sqrt(1 - near**2) * direction / np.linalg.norm(direction)
    assert probe.check(found, least_cosine=0.97) == pytest.approx(0.98, abs=1e-6)
    with pytest.raises(ProbeError):
        probe.check(found)


def test_an_artifact_of_before_there_were_probes_opens(tiny_artifact: Path) -> None:
    assert Artifact.open(tiny_artifact).probe() is None
    with Embedder.open(tiny_artifact, threads=1, backend="onnxruntime") as embedder:
        assert embedder.check_probe() is None


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        (PROBE_FILE, None, ChecksumError),
        (PROBE_IMAGE_FILE, None, ChecksumError),
        (PROBE_FILE, b'{"embedding": [1.0]}', SchemaError),
        (PROBE_FILE, b'{"embedding": [0.0' + 15 * b", 0.0" + b"]}", SchemaError),
        (PROBE_FILE, b'{"embedding": [true' + 15 * b", 0.0" + b"]}", SchemaError),
        (PROBE_FILE, b"[]", SchemaError),
        (PROBE_IMAGE_FILE, b"", SchemaError),
        (PROBE_IMAGE_FILE, encode_png(np.zeros((28, 27, 3), np.uint8)), SchemaError),
    ],
)
def test_files_that_hold_no_probe_are_refused(
    artifact: Path, name: str, content: bytes | None, kind: type[Exception], tmp_path: Path
) -> None:
    directory = copy_of(artifact, tmp_path)
    (directory / name).unlink()
    if content is not None:
        (directory / name).write_bytes(content)
    write_checksums(directory)
    with raises_naming(kind, name):
        Embedder.open(directory, threads=1, backend="onnxruntime")


@pytest.mark.parametrize("group", [{}, {"least_cosine": 2}, {"least_cosine": "high"}, {"least_cosine": 0.9, "more": 1}])
def test_a_manifest_that_describes_no_probe_is_refused(group: dict[str, object], tmp_path: Path) -> None:
    directory = make_artifact(tmp_path / "artifact")
    values = json.loads((directory / MANIFEST_FILE).read_text())
    (directory / MANIFEST_FILE).write_text(json.dumps(values | {"probe": group}))
    write_checksums(directory)
    with raises_naming(SchemaError, MANIFEST_FILE):
        Artifact.open(directory)
    assert make_manifest(probe={"least_cosine": 0.9}).probe == {"least_cosine": 0.9}


@pytest.mark.parametrize(("height", "width"), [(112, 112), (112, 96), (160, 160), (1, 3)])
def test_the_image_is_a_png_that_others_read(height: int, width: int) -> None:
    image = probe_face(height, width)
    data = encode_png(image)
    np.testing.assert_array_equal(decode_png(data, name="x"), image)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1], image)


def test_the_image_tells_colors_sides_and_range_apart() -> None:
    image = probe_face(112, 112).astype(int)
    assert (image.min((0, 1)) <= 5).all()
    assert (image.max((0, 1)) >= 250).all()
    for changed in (image[..., ::-1], image[:, ::-1], image[::-1], image.transpose(1, 0, 2)):
        assert np.abs(changed - image).mean() > 30


SMALL = encode_png(probe_face(4, 3))


@given(
    changes=st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=3),
    length=st.integers(0, len(SMALL)),
)
def test_a_damaged_png_is_refused(changes: list[tuple[int, int]], length: int) -> None:
    whole = bytearray(SMALL)
    for place, value in changes:
        whole[place] = value
    try:
        found = decode_png(bytes(whole[:length]), name="probe.png")
    except SchemaError as error:
        names(error, "probe.png")
        return
    assert found.ndim == 3


def test_a_png_that_unpacks_to_more_is_refused() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    data = encode_png(image)
    bomb = zlib.compress(bytes(10_000_000))
    start = data.index(b"IDAT")
    with raises_naming(SchemaError, "x"):
        decode_png(data[: start - 4] + len(bomb).to_bytes(4, "big") + b"IDAT" + bomb, name="x")


def test_a_probe_is_what_was_written() -> None:
    image = probe_face(12, 10)
    embedding = np.random.default_rng(0).normal(size=16).astype(np.float32)
    embedding /= np.linalg.norm(embedding)
    probe = Probe(image=image, embedding=embedding, least_cosine=0.9)
    files = probe.files()
    found = Probe.from_files(
        files[PROBE_IMAGE_FILE],
        files[PROBE_FILE].decode(),
        probe.record(),
        InputContract(height=12, width=10),
        16,
    )
    np.testing.assert_array_equal(found.image, image)
    np.testing.assert_array_equal(found.embedding, embedding)
    assert found.least_cosine == 0.9


def test_a_graph_of_another_runtime_is_computed_as_it_is_written(tmp_path: Path) -> None:
    """What ONNX Runtime rewrites such a graph into gives other embeddings."""
    student = make_student(randomize(NETWORKS["bottleneck"]()), activation="relu", symmetric_activations=True)
    export_student(student, "trt", tmp_path / "artifact", bits=8, engine=EngineSettings(build=False))
    with Embedder.open(tmp_path / "artifact", device="cpu", threads=1) as embedder:
        assert embedder.check_probe() == pytest.approx(1, abs=1e-4)
