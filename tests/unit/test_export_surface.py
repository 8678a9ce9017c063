"""Graphs of every surface give the embeddings of the usual one, to the bit."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from artifacts import make_manifest
from messages import raises_naming
from networks import NETWORKS, make_student, random_images, randomize

from efq.export import export_student, find_target
from efq.export.artifact.interface_section import interface_section
from efq.export.engine_settings import EngineSettings
from efq.export.surface import with_interface
from efq.export.targets.target import ExportOptions
from efq.runtime import Embedder
from efq.runtime.artifact.folder import INTERFACE_KEY, Artifact, write_checksums
from efq.runtime.artifact.model_check import check_model
from efq.runtime.errors import IncompatibleArtifactError, SchemaError, UsageError
from efq.runtime.faces.interface import COLOR_ORDERS, FORMS, USUAL, Interface
from efq.runtime.faces.normalization import NORMALIZATIONS
from efq.toolchain.student import Student

SIZE = 28
NORMALIZED = ("raw", *NORMALIZATIONS, "127.5/128", "104:117:123/1")
SURFACES = tuple(
    Interface.parse(text)
    for color in COLOR_ORDERS
    for text in (
        *(f"{form},{color}" for form in FORMS[:2]),
        *(f"float-nchw,{color},{normalized}" for normalized in NORMALIZED),
        f"float-nchw,{color},raw,batch=3",
    )
)


@pytest.fixture(scope="module")
def student() -> Student:
    return make_student(randomize(NETWORKS["bottleneck"]()), size=SIZE)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Smooth ones, and one with every pixel value in every channel."""
    every = np.resize(np.arange(256, dtype=np.uint8), (3, SIZE, SIZE)).transpose(1, 2, 0)
    return np.concatenate([random_images(4, size=SIZE).numpy(), every[None], every[None, ::-1, :, ::-1]])


def graph_of(student: Student, target: str, images: np.ndarray) -> onnx.ModelProto:
    found = find_target(target)
    options = ExportOptions(engine=EngineSettings(build=False))
    return found.write(found.prepare(student, images, options).form)


def embed(model: onnx.ModelProto, interface: Interface, images: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return interface.feed(images, lambda batch: np.asarray(session.run(None, {"images": batch})[0]))


@pytest.mark.parametrize("target", ["ort-cpu", "openvino", "trt"])
def test_every_surface_gives_the_same_embeddings(target: str, student: Student, images: np.ndarray) -> None:
    usual = graph_of(student, target, images)
    wanted = embed(usual, USUAL, images)
    assert with_interface(usual, USUAL, student.contract) is usual
    before = usual.SerializeToString()
    for interface in SURFACES:
        model = with_interface(usual, interface, student.contract)
        check_model(model.SerializeToString(), Path("model.onnx"))
        np.testing.assert_array_equal(embed(model, interface, images), wanted, err_msg=str(interface))
    assert usual.SerializeToString() == before


@pytest.mark.parametrize("normalized", NORMALIZED)
def test_the_surface_gives_back_all_256_pixel_values(normalized: str, student: Student, images: np.ndarray) -> None:
    """Also of a normalization computed in another way, as OpenCV's and torchvision's are."""
    interface = Interface.parse(f"float-nchw,{normalized}")
    model = with_interface(graph_of(student, "ort-cpu", images), interface, student.contract)
    pixels = "image_pixels"
    model.graph.output.append(onnx.helper.make_tensor_value_info(pixels, onnx.TensorProto.UINT8, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert interface.normalization is not None
    mean, std = (np.array(values) for values in (interface.normalization.mean, interface.normalization.std))
    scaled = (images.astype(np.float32) / np.float32(255) - (mean / 255).astype(np.float32)) / (std / 255)
    for batch in (interface.prepare(images), scaled.astype(np.float32).transpose(0, 3, 1, 2)):
        np.testing.assert_array_equal(session.run([pixels], {"images": batch})[0], images)
    between = session.run([pixels], {"images": interface.prepare(images) + np.float32(0.4 / std.max())})[0]
    np.testing.assert_array_equal(between, images)
    beyond = np.full((1, 3, SIZE, SIZE), 1e6, np.float32)
    assert session.run([pixels], {"images": beyond})[0].min() == 255


def test_insightface_tells_the_normalization_by_the_names(student: Student, images: np.ndarray) -> None:
    """Its rule: Sub and Mul among the names of the first eight nodes say that pixels are not normalized."""
    usual = graph_of(student, "ort-cpu", images)
    for text, raw in (("float-nchw", False), ("float-nchw,raw", True), ("float-nchw,bgr,raw", True)):
        model = with_interface(usual, Interface.parse(text), student.contract)
        first = [node.name for node in model.graph.node[:8]]
        assert all(any(name.startswith(kind) for name in first) for kind in ("Sub", "Mul")) == raw


@pytest.mark.parametrize(
    ("target", "text"),
    [
        *(("ort-cpu", text) for text in ("uint8-nhwc,bgr", "uint8-nchw,batch=2", "float-nchw")),
        ("openvino", "float-nchw,bgr,raw,batch=3"),
    ],
)
def test_an_embedder_takes_the_same_images(
    target: str, text: str, student: Student, images: np.ndarray, tmp_path: Path
) -> None:
    if target == "openvino":
        pytest.importorskip("openvino")
    interface = Interface.parse(text)
    export_student(student, target, tmp_path / "usual", bits=8)
    export_student(student, target, tmp_path / "other", bits=8, interface=interface)
    backend = {"ort-cpu": "onnxruntime"}.get(target, target)
    wanted = None
    for name in ("usual", "other"):
        for threads in (1, 2):
            with contextlib.closing(Embedder.open(tmp_path / name, threads=threads, backend=backend)) as embedder:
                found = embedder.embed(np.tile(images, (2, 1, 1, 1))[:7])
                np.testing.assert_array_equal(embedder.embed(images[:1]), found[:1])
            wanted = found if wanted is None else wanted
            np.testing.assert_array_equal(found, wanted)
    manifest = Artifact.open(tmp_path / "other").manifest
    assert manifest.surface == interface
    metadata = {prop.key: prop.value for prop in onnx.load(tmp_path / "other" / "model.onnx").metadata_props}
    assert metadata[INTERFACE_KEY] == str(interface)
    assert "interface" not in (tmp_path / "usual" / "manifest.json").read_text()


@pytest.mark.parametrize("interface", SURFACES, ids=str)
def test_the_lines_of_the_card_feed_the_graph(
    interface: Interface, student: Student, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = graph_of(student, "ort-cpu", images)
    onnx.save(with_interface(usual, interface, student.contract), tmp_path / "model.onnx")
    manifest = make_manifest(input=student.contract, interface=interface.to_dict())
    code = re.findall(r"```python\n(.*?)```", interface_section(manifest), re.DOTALL)
    if interface.is_usual:
        assert code == []
        return
    values: dict[str, Any] = {"faces": images[: interface.batch]}
    monkeypatch.chdir(tmp_path)
    exec("".join(code), values)
    np.testing.assert_array_equal(values.get("embeddings"), embed(usual, USUAL, images)[: interface.batch])


def test_a_manifest_of_another_surface_is_refused(student: Student, tmp_path: Path) -> None:
    export_student(student, "ort-cpu", tmp_path / "a", bits=8, interface=Interface.parse("float-nchw"))
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    for interface in (None, Interface.parse("float-nchw,bgr").to_dict()):
        kept = {key: value for key, value in manifest.items() if key != "interface"}
        changed = kept | ({} if interface is None else {"interface": interface})
        (tmp_path / "a" / "manifest.json").write_text(json.dumps(changed))
        write_checksums(tmp_path / "a")
        with pytest.raises((SchemaError, IncompatibleArtifactError), match=r"model\.onnx"):
            Embedder.open(tmp_path / "a", threads=1)


def test_the_engine_has_the_batch(student: Student, tmp_path: Path) -> None:
    with raises_naming(UsageError, "--batch", "batch=2"):
        export_student(
            student,
            "trt",
            tmp_path / "a",
            bits=8,
            interface=Interface.parse("float-nchw,batch=2"),
            engine=EngineSettings(build=False),
        )
