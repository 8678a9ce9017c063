"""The artifact as written: opened and run by the runtime, whole or not there at all, and its model card."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from artifacts import random_faces
from messages import names, raises_naming
from onnx import TensorProto, helper, numpy_helper

from efq.export.artifact.model_card import model_card
from efq.export.artifact.writer import update_parity, write_artifact
from efq.export.coverage.measurement import measure_coverage
from efq.export.coverage.report import CoverageReport
from efq.runtime import ChecksumError, Embedder, InputContract, InputError, Manifest, SchemaError, UsageError
from efq.runtime.artifact.parity import (
    AccuracyRecord,
    AgreementRecord,
    EvaluationRecord,
    FacesRecord,
    ParityRecord,
    RatesRecord,
)
from efq.runtime.certificate.certificate import Certificate
from efq.runtime.lineage.licence import Licence

HASHES = ("0123456789abcdef", "fedcba9876543210", "0123456789abcdef")
CONTRACT = InputContract(height=8, width=8)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """uint8 images (N, 8, 8, 3) times a random float matrix, to unit length: float32 embeddings (N, 4)."""
    matrix = np.random.default_rng(0).normal(size=(4, 192)).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["images", "scale"], ["float"], name="dequantize"),
        helper.make_node("Flatten", ["float"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "matrix"], ["product"], name="product", transB=1),
        helper.make_node("LpNormalization", ["product"], ["embeddings"], name="unit", axis=1),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 8, 8, 3])
    embeddings = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", 4])
    constants = [numpy_helper.from_array(matrix, "matrix"), numpy_helper.from_array(np.float32(1), "scale")]
    graph = helper.make_graph(nodes, "network", [images], [embeddings], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(made, {"efq.target": "an older one", "kept": "yes"})
    return made


@pytest.fixture(scope="module")
def coverage(model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> CoverageReport:
    path = tmp_path_factory.mktemp("coverage") / "model.onnx"
    onnx.save(model, path)
    return measure_coverage(path, images=np.zeros((1, 8, 8, 3), np.uint8), runs=1)


@pytest.fixture
def manifest(coverage: CoverageReport) -> Manifest:
    return Manifest(
        name="tiny|net",
        target="ort-cpu",
        bits={"weights": 8, "activations": 8},
        backbone="tiny",
        recipe={"activation": "relu"},
        input=CONTRACT,
        embedding_size=4,
        teacher={"name": "float-tiny", "sha256": "ab" * 32, "licence": "cc-by-nc-4.0"},
        data={"images": 3, "identities": 2, "sha256": "cd" * 32, "licence": "CC-BY-NC-4.0"},
        licence="cc-by-nc-4.0",
        thresholds={"1e-3": 0.31},
        coverage=coverage.to_dict(),
        tools={"onnx": onnx.__version__},
        created="2026-01-02",
    )


def write(directory: Path, model: onnx.ModelProto | bytes, manifest: Manifest, **changes: Any) -> None:
    arguments = {"training_hashes": HASHES, "parity": None, "force": False} | changes
    write_artifact(directory, model=model, manifest=manifest, **arguments)


def make_evaluation(images: int = 12) -> EvaluationRecord:
    rates = RatesRecord(tar_at_far={"1e-4": 0.25}, thresholds={"1e-4": 0.5}, ten_fold={})
    return EvaluationRecord(
        measured="2026-01-03",
        machine="a CPU",
        faces=FacesRecord(images=images, identities=3, genuine_pairs=18, impostor_pairs=48),
        accuracy=AccuracyRecord(teacher=rates, artifact=rates),
        teacher=AgreementRecord(reference="teacher", cosine_mean=0.9987654, cosine_p1=0.9, cosine_min=0.8),
    )


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_runtime_opens_and_runs_what_was_written(
    tmp_path: Path, model: onnx.ModelProto, manifest: Manifest
) -> None:
    write(tmp_path / "artifact", model, manifest)
    embedder = Embedder.open(tmp_path / "artifact", threads=1)
    embeddings = embedder.embed(random_faces(3)[:, :8, :8])
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-6)
    assert embedder.manifest == manifest
    assert set(content(tmp_path / "artifact")) == {
        "model.onnx", "manifest.json", "training_data.json", "README.md", "checksums.sha256"
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_the_model_carries_the_contract_and_the_caller_keeps_its_own(
    tmp_path: Path, model: onnx.ModelProto, manifest: Manifest
) -> None:
    before = model.SerializeToString()
    write(tmp_path / "artifact", before, manifest)
    assert model.SerializeToString() == before
    props = onnx.load(tmp_path / "artifact" / "model.onnx").metadata_props
    metadata = {prop.key: prop.value for prop in props}
    assert len(metadata) == len(props)
    assert json.loads(metadata.pop("efq.contract")) == CONTRACT.to_dict()
    assert json.loads(metadata.pop("efq.bits")) == {"weights": 8, "activations": 8}
    assert metadata.pop("model_author").startswith("efq ")
    assert metadata == {
        "kept": "yes",
        "Image.BitmapPixelFormat": "Rgb8",
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "NominalRange_0_255",
        "model_license": "cc-by-nc-4.0",
        "efq.schema_version": "2",
        "efq.target": "ort-cpu",
        "efq.teacher_sha256": "ab" * 32,
        "efq.teacher_licence": "cc-by-nc-4.0",
        "efq.data_licence": "CC-BY-NC-4.0",
        "efq.l2_normalized": "true",
    }


def test_training_data_counts_images_and_lists_each_hash_once(
    tmp_path: Path, model: onnx.ModelProto, manifest: Manifest
) -> None:
    write(tmp_path / "artifact", model, manifest)
    values = json.loads((tmp_path / "artifact" / "training_data.json").read_text())
    assert values == {"images": 3, "sha256_prefixes": sorted(set(HASHES))}


def test_updating_parity_renews_the_card_and_the_checksums(
    tmp_path: Path, model: onnx.ModelProto, manifest: Manifest
) -> None:
    directory = tmp_path / "artifact"
    write(directory, model, manifest, parity=ParityRecord(export_check={"cosine": {"mean": 0.5}}))
    before = content(directory)
    assert b"export_check / cosine / mean | 0.5 |" in before["README.md"]
    for images in (12, 15):
        evaluation = make_evaluation(images)
        update_parity(directory, evaluation)
        after = content(directory)
        assert ParityRecord.from_json(after["parity.json"].decode()) == ParityRecord(
            export_check={"cosine": {"mean": 0.5}}, evaluation=evaluation
        )
        for row in (
            "export_check / cosine / mean | 0.5 |",
            f"faces / images | {images} |",
            "accuracy / artifact / tar_at_far / 1e-4 | 0.25 |",
            "teacher / cosine_mean | 0.998765 |",
        ):
            assert row.encode() in after["README.md"]
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"parity.json", "README.md", "checksums.sha256"}
    Embedder.open(directory, threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_a_changed_file_gets_no_new_checksum(tmp_path: Path, model: onnx.ModelProto, manifest: Manifest) -> None:
    directory = tmp_path / "artifact"
    write(directory, model, manifest)
    (directory / "training_data.json").write_text("{}")
    before = content(directory)
    with pytest.raises(ChecksumError):
        update_parity(directory, make_evaluation())
    assert content(directory) == before


def test_a_certificate_of_another_artifact_is_not_written(
    tmp_path: Path, model: onnx.ModelProto, manifest: Manifest
) -> None:
    """As where the folder is replaced while it is measured."""
    directory = tmp_path / "artifact"
    write(directory, model, manifest)
    before = content(directory)
    others = Certificate.from_json((Path(__file__).parents[1] / "data" / "certificate.json").read_text("utf-8"))
    with raises_naming(SchemaError, directory, others.binding.model_sha256):
        update_parity(directory, make_evaluation(), certificate=others, page="<p>fine</p>")
    assert content(directory) == before


def test_an_older_artifact_is_replaced_only_by_force_and_as_a_whole(
    tmp_path: Path, model: onnx.ModelProto, manifest: Manifest
) -> None:
    directory = tmp_path / "artifact"
    write(directory, model, manifest, parity=ParityRecord(export_check={"pairs": 10}))
    before = content(directory)
    with raises_naming(UsageError, directory, "--force"):
        write(directory, model, manifest)
    assert content(directory) == before
    write(directory, model, manifest, force=True)
    assert set(content(directory)) == set(before) - {"parity.json"}


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"model": b"not a model"}, ("ONNX",)),
        ({"training_hashes": ["0123"]}, ("SHA-256", "0123")),
        ({"parity": ParityRecord(export_check={"cosine": float("nan")})}, ("JSON",)),
        ({"parity": ParityRecord(export_check={"cosine": np.float32(1)})}, ("JSON", "float32")),
    ],
    ids=["model", "hashes", "nan", "not plain"],
)
def test_bad_input_leaves_nothing_and_keeps_the_older_artifact(
    tmp_path: Path, model: onnx.ModelProto, manifest: Manifest, changes: dict[str, Any], facts: tuple[str, ...]
) -> None:
    arguments = {"model": model} | changes
    with raises_naming(InputError, *facts):
        write(tmp_path / "new", manifest=manifest, **arguments)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "old", model, manifest)
    before = content(tmp_path / "old")
    with raises_naming(InputError, *facts):
        write(tmp_path / "old", manifest=manifest, force=True, **arguments)
    assert content(tmp_path / "old") == before
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_weights_in_another_file_are_refused(tmp_path: Path, model: onnx.ModelProto, manifest: Manifest) -> None:
    own = onnx.ModelProto()
    own.CopyFrom(model)  # saving with external data changes the model it is given
    onnx.save(own, tmp_path / "big.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    elsewhere = onnx.load(tmp_path / "big.onnx", load_external_data=False)
    with raises_naming(InputError, elsewhere.graph.initializer[0].name):
        write(tmp_path / "artifact", elsewhere, manifest)


def test_the_card_says_how_to_run_it_and_what_was_measured(manifest: Manifest) -> None:
    card = model_card(manifest, manifest.coverage, None)
    front, body = card.removeprefix("---\n").split("---\n", maxsplit=1)
    assert front.splitlines()[:3] == [
        "license: cc-by-nc-4.0", "base_model: float-tiny", "base_model_relation: quantized"
    ]  # fmt: skip
    assert 'Embedder.open("path/to/this/folder")' in body
    names(body, "uint8 (N, 8, 8, 3)", "float32 (N, 4)", "product", "Gemm", "non-commercial")
    (multiply_adds,) = (line for line in body.splitlines() if line.startswith("| multiply-adds"))
    names(multiply_adds, 0, 768, "0.00 %")
    assert "# tiny\\|net" in body


@pytest.mark.parametrize(
    ("teacher", "data", "licence"),
    [
        ("cc-by-nc-4.0", None, "apache-2.0"),
        (None, None, "mit"),
        ("mit", "CC-BY-NC-4.0", "mit"),
        ("GPL-3.0", "x", "mit"),
    ],
)
def test_a_wider_licence_is_written_only_with_its_reason(
    tmp_path: Path, model: onnx.ModelProto, manifest: Manifest, teacher: str | None, data: str | None, licence: str
) -> None:
    wider = dataclasses.replace(
        manifest,
        teacher={**manifest.teacher, "licence": teacher},
        data={**manifest.data, "licence": data},
        licence=licence,
    )
    with raises_naming(UsageError, Licence.parse(licence).text, "licence_reason"):
        write(tmp_path / "artifact", model, wider)
    assert list(tmp_path.iterdir()) == []
    reasoned = dataclasses.replace(wider, lineage={"licence_reason": "we own the weights"})
    write(tmp_path / "artifact", model, reasoned)
    assert "Reason given: we own the weights." in (tmp_path / "artifact" / "README.md").read_text()
    assert Embedder.open(tmp_path / "artifact", threads=1).manifest.origin.licence_reason == "we own the weights"


def test_a_coverage_that_is_no_report_is_refused(manifest: Manifest) -> None:
    with raises_naming(SchemaError, "convolutions", "runtime", "multiply_adds"):
        model_card(manifest, {"multiply_adds": 1.0}, None)
