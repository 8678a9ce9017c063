from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from artifacts import EMBEDDING_SIZE, make_artifact, make_manifest, make_model, random_faces, reference_embeddings
from messages import raises_naming

from efq.runtime import (
    Artifact,
    ChecksumError,
    DeviceError,
    Embedder,
    IncompatibleArtifactError,
    InputContract,
    InputError,
    SchemaError,
    UsageError,
)
from efq.runtime.artifact.folder import MANIFEST_FILE, MODEL_FILE, write_checksums
from efq.runtime.targets import targets

FACES = random_faces(3)


@pytest.fixture(scope="module")
def embedder(tiny_artifact: Path) -> Embedder:
    return Embedder.open(tiny_artifact, threads=1)


@pytest.mark.parametrize("count", [1, 3, 64, 65, 130])
def test_embeddings_are_those_of_the_reference(embedder: Embedder, count: int) -> None:
    faces = random_faces(count, seed=count)
    embeddings = embedder.embed(faces)
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (count, EMBEDDING_SIZE)
    assert embeddings.flags.c_contiguous
    assert embeddings.flags.owndata
    np.testing.assert_allclose(embeddings, reference_embeddings(faces), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_views_and_read_only_arrays_are_accepted(embedder: Embedder) -> None:
    mirrored = FACES[:, :, ::-1]
    expected = embedder.embed(mirrored.copy())
    np.testing.assert_array_equal(embedder.embed(mirrored), expected)
    mirrored.flags.writeable = False
    np.testing.assert_array_equal(embedder.embed(mirrored), expected)


def test_properties_are_those_of_the_manifest(embedder: Embedder) -> None:
    assert embedder.manifest == make_manifest()
    assert embedder.contract == InputContract()
    assert embedder.embedding_size == EMBEDDING_SIZE


@pytest.mark.parametrize(
    ("images", "advice"),
    [
        (FACES[0], "image[None]"),
        (FACES.transpose(0, 3, 1, 2), "images.transpose(0, 2, 3, 1)"),
        (FACES[0].transpose(2, 0, 1), "images.transpose(0, 2, 3, 1)"),
        (FACES[:2, ..., 0], "cv2.COLOR_GRAY2RGB"),
        (FACES[..., :1], "cv2.COLOR_GRAY2RGB"),
        (FACES[0, :, :, 0], "cv2.COLOR_GRAY2RGB"),
        (np.concatenate([FACES, FACES[..., :1]], axis=3), "images[..., :3]"),
        (FACES[:, :100], "efq.runtime.align"),
        (FACES[0, 0, 0], "batch"),
        (FACES.astype(np.float32) / 255, "images.astype(numpy.uint8)"),
        (FACES.astype(np.int64), "images.astype(numpy.uint8)"),
        (FACES[:0], "empty"),
        (list(FACES), "numpy.stack"),
        (None, "numpy.asarray"),
    ],
)
def test_other_arrays_are_refused_with_advice(embedder: Embedder, images: object, advice: str) -> None:
    found = (images.dtype, images.shape) if isinstance(images, np.ndarray) else (type(images).__name__,)
    with raises_naming(InputError, "uint8 (N, 112, 112, 3)", "RGB", *found, advice):
        embedder.embed(images)  # type: ignore[arg-type]


def test_other_devices_and_thread_counts_are_refused(tiny_artifact: Path) -> None:
    with raises_naming(DeviceError, "ort-cpu", "cpu", "cuda"):
        Embedder.open(tiny_artifact, device="cuda")
    with raises_naming(UsageError, "thread", 0):
        Embedder.open(tiny_artifact, threads=0)


def test_a_target_of_another_runtime_is_refused(tmp_path: Path) -> None:
    directory = make_artifact(tmp_path / "artifact", manifest=make_manifest(target="npu"))
    with raises_naming(IncompatibleArtifactError, *targets(), "npu"):
        Embedder.open(directory)


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_model_is_refused_without_output(
    tmp_path: Path, fraction: float, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = make_artifact(tmp_path / "artifact")
    data = (directory / MODEL_FILE).read_bytes()
    (directory / MODEL_FILE).write_bytes(data[: int(len(data) * fraction)])
    write_checksums(directory)
    with raises_naming(IncompatibleArtifactError, directory / MODEL_FILE, "efq-export"):
        Embedder.open(directory)
    assert capfd.readouterr() == ("", "")


def test_a_model_of_another_contract_or_without_one_is_refused(tmp_path: Path) -> None:
    other = make_model(make_manifest(input=InputContract(alignment="other")))
    with raises_naming(SchemaError, "efq.contract", MANIFEST_FILE, MODEL_FILE, '"other"'):
        Embedder.open(make_artifact(tmp_path / "other", model=other))
    unknown = make_model(make_manifest())
    onnx.helper.set_model_props(unknown, {})
    with raises_naming(SchemaError, "efq.contract", MANIFEST_FILE, MODEL_FILE, None):
        Embedder.open(make_artifact(tmp_path / "none", model=unknown))


def test_a_model_with_another_signature_is_refused(tmp_path: Path) -> None:
    manifest = make_manifest()
    wrong = {
        "fixed": (manifest, make_model(manifest, batch=1), "images"),
        "renamed": (manifest, make_model(manifest, output_name="features_out"), "features_out"),
        "size": (make_manifest(embedding_size=EMBEDDING_SIZE + 1), make_model(manifest), EMBEDDING_SIZE),
    }
    for name, (other, model, found) in wrong.items():
        with raises_naming(IncompatibleArtifactError, tmp_path / name / MODEL_FILE, found):
            Embedder.open(make_artifact(tmp_path / name, manifest=other, model=model))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_what_becomes_of_the_file_afterwards_changes_nothing(tmp_path: Path, backend: str) -> None:
    """Sessions that are made later, for batches, are of the model that was verified."""
    pytest.importorskip(backend)
    directory = make_artifact(tmp_path / "artifact")
    faces = random_faces(6)
    with Embedder.open(directory, threads=2, backend=backend) as embedder:
        model = make_model(make_manifest())
        for tensor in model.graph.initializer:
            if tensor.name == "linear":
                tensor.raw_data = bytes(reversed(tensor.raw_data))
        onnx.save_model(model, directory / MODEL_FILE)
        batch = embedder.embed(faces)
        singles = np.concatenate([embedder.embed(face[None]) for face in faces])
    np.testing.assert_allclose(batch, reference_embeddings(faces), atol=1e-5)
    np.testing.assert_allclose(singles, batch, atol=1e-5)


def test_a_model_that_was_replaced_before_it_was_read_is_refused(tmp_path: Path) -> None:
    artifact = Artifact.open(make_artifact(tmp_path / "artifact"))
    assert artifact.model_bytes() == artifact.model_path.read_bytes()
    artifact.model_path.write_bytes(artifact.model_path.read_bytes() + b" ")
    with raises_naming(ChecksumError, artifact.model_path):
        artifact.model_bytes()
    artifact.model_path.unlink()
    with raises_naming(ChecksumError, artifact.model_path):
        artifact.model_bytes()
