"""efq-export lays artifacts out for servers, as their own code and documentation read them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from messages import names
from networks import draw_faces, make_student, randomize, teacher_network
from onnx import TensorProto, helper

from efq.export.export_command import main
from efq.export.serving.table import KINDS
from efq.runtime import Embedder
from efq.runtime.artifact.folder import Artifact
from efq.runtime.tensorrt.build.builder import PLAN_FILE
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.fingerprint import Fingerprint
from efq.toolchain.student import save_student

FACES = draw_faces(3, 2)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with student.pt, detector.onnx of nine outputs, and the artifacts usual, arcface, openvino and trt."""
    root = tmp_path_factory.mktemp("inputs")
    student = root / "student.pt"
    save_student(make_student(randomize(teacher_network(), slopes=(-0.3, 0.1, 0.4)), size=112), student)
    outputs = [helper.make_tensor_value_info(f"o{place}", TensorProto.FLOAT, ["N"]) for place in range(9)]
    nodes = [helper.make_node("Identity", ["image"], [output.name]) for output in outputs]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N"])
    onnx.save(helper.make_model(helper.make_graph(nodes, "detector", [image], outputs)), root / "detector.onnx")
    run(student, "-o", root / "usual")
    run(student, "-o", root / "arcface", "--interface", "float-nchw")
    run(student, "-o", root / "openvino", "--target", "openvino", "--interface", "uint8-nhwc,bgr")
    run(student, "-o", root / "trt", "--target", "trt", "--no-engine")
    return root


@pytest.fixture(scope="module")
def wanted(inputs: Path) -> np.ndarray:
    with Embedder.open(inputs / "usual", threads=1, backend="onnxruntime") as embedder:
        return embedder.embed(FACES)


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def add_engine(artifact: Path, folder: Path, capability: str, **options: Any) -> Path:
    """A copy of the artifact with an engine, of bytes that no GPU has seen, as one for `capability`."""
    for file in artifact.iterdir():
        if file.is_file():
            folder.mkdir(exist_ok=True)
            (folder / file.name).write_bytes(file.read_bytes())
    plan = f"plan for {capability}".encode()
    fingerprint = Fingerprint(
        target="trt",
        version="10.16.1",
        cuda="13.0",
        gpu=f"GPU of {capability}",
        compute_capabilities=(capability,),
        onnx_sha256=Artifact.open(artifact).checksums["model.onnx"],
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        options=BuildOptions(batches=(1, 16, 128), **options),
    )
    (folder / "engine").mkdir()
    (folder / "engine" / PLAN_FILE).write_bytes(plan)
    (folder / "engine" / "fingerprint.json").write_text(fingerprint.to_json())
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def triton_config(path: Path) -> dict[str, Any]:
    """config.pbtxt by a reader of its own, and Triton's where its client is installed."""
    text = path.read_text()
    spec = importlib.util.find_spec("tritonclient")
    if spec is not None and spec.submodule_search_locations:
        message = _triton_messages(Path(spec.submodule_search_locations[0])).ModelConfig()
        from google.protobuf import text_format

        text_format.Parse(text, message)
        assert message.name
    found, rest = _message(re.findall(r'"(?:[^"\\]|\\.)*"|[\w.+-]+|[:{}]', text))
    assert rest == []
    return found


def _triton_messages(folder: Path) -> Any:
    name = "model_config_pb2"
    if name not in sys.modules:  # not by its package, which wants gRPC
        spec = importlib.util.spec_from_file_location(name, folder / "grpc" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def _message(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, list[Any]] = {}
    while words and words[0] != "}":
        name, sign, *words = words
        if sign == "{":
            value, (_, *words) = _message(words)
        else:
            value, *words = words
            value = value if value.startswith(("KIND_", "TYPE_")) else json.loads(value)
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}, words


def test_triton_with_onnxruntime(inputs: Path, tmp_path: Path, wanted: np.ndarray) -> None:
    run(inputs / "student.pt", "--triton", tmp_path / "repository")
    name = "tiny-w7a8-ort-cpu"
    assert files(tmp_path) == {f"repository/{name}/config.pbtxt", f"repository/{name}/1/model.onnx"}
    config = triton_config(tmp_path / "repository" / name / "config.pbtxt")
    assert config["name"] == name
    assert config["backend"] == "onnxruntime"
    assert config["default_model_filename"] == "model.onnx"
    assert config["input"] == {"name": "images", "data_type": "TYPE_UINT8", "dims": [112, 112, 3]}
    assert config["output"] == {"name": "embeddings", "data_type": "TYPE_FP32", "dims": 16}
    assert config["max_batch_size"] == config["dynamic_batching"]["preferred_batch_size"][-1] == 64
    assert config["instance_group"]["kind"] == "KIND_CPU"
    assert [warmed["batch_size"] for warmed in config["model_warmup"]] == [1, 4, 64]
    assert config["model_warmup"][0]["inputs"]["value"]["zero_data"] is True
    session = onnxruntime.InferenceSession(tmp_path / "repository" / name / "1" / "model.onnx")
    np.testing.assert_array_equal(session.run(["embeddings"], {"images": FACES})[0], wanted)


def test_triton_with_openvino_and_a_fixed_batch(inputs: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    run(inputs / "openvino", "--triton", tmp_path, "--serve-as", "faces")
    config = triton_config(tmp_path / "faces" / "config.pbtxt")
    assert (config["backend"], config["default_model_filename"]) == ("openvino", "model.onnx")
    assert {"key": "ENABLE_BATCH_PADDING", "value": {"string_value": "YES"}} in config["parameters"]
    options = ("--interface", "float-nchw,bgr,raw,batch=2", "--triton", tmp_path, "--serve-as", "pairs")
    run(inputs / "student.pt", *options)
    config = triton_config(tmp_path / "pairs" / "config.pbtxt")
    assert config["max_batch_size"] == 0
    assert config["input"] == {"name": "images", "data_type": "TYPE_FP32", "dims": [2, 3, 112, 112]}
    assert config["output"]["dims"] == [2, 16]
    assert "dynamic_batching" not in config
    assert "batch_size" not in config["model_warmup"]
    assert files(tmp_path) == {
        f"{name}/{file}" for name in ("faces", "pairs") for file in ("config.pbtxt", "1/model.onnx")
    }


def test_triton_with_a_plan_for_each_gpu(inputs: Path, tmp_path: Path) -> None:
    first = add_engine(inputs / "trt", tmp_path / "first", "9.0")
    second = add_engine(inputs / "trt", tmp_path / "second", "8.6")
    run(first, "--triton", tmp_path / "repository", "--plan", second, "--serve-as", "faces")
    model = tmp_path / "repository" / "faces"
    assert files(model) == {"config.pbtxt", "1/model_sm90.plan", "1/model_sm86.plan"}
    assert (model / "1" / "model_sm86.plan").read_bytes() == b"plan for 8.6"
    config = triton_config(model / "config.pbtxt")
    assert config["platform"] == "tensorrt_plan"
    assert config["cc_model_filenames"] == [
        {"key": "9.0", "value": "model_sm90.plan"},
        {"key": "8.6", "value": "model_sm86.plan"},
    ]
    assert "default_model_filename" not in config
    assert config["max_batch_size"] == 128
    assert config["dynamic_batching"]["preferred_batch_size"] == [16, 128]
    assert config["instance_group"]["kind"] == "KIND_GPU"
    anywhere = add_engine(inputs / "trt", tmp_path / "anywhere", "8.0", hardware_compatible=True)
    run(anywhere, "--triton", tmp_path / "repository", "--serve-as", "anywhere")
    config = triton_config(tmp_path / "repository" / "anywhere" / "config.pbtxt")
    assert config["default_model_filename"] == "model.plan"


def test_plans_that_do_not_belong_together(inputs: Path, tmp_path: Path) -> None:
    first = add_engine(inputs / "trt", tmp_path / "first", "9.0")
    again = add_engine(inputs / "trt", tmp_path / "again", "9.0")
    for other, code in ((again, 2), (inputs / "usual", 2), (tmp_path / "none", 5)):
        run(first, "--triton", tmp_path / "repository", "--plan", other, code=code)
    (first / "engine" / PLAN_FILE).write_bytes(b"another")
    run(first, "--triton", tmp_path / "repository", code=5)
    names(run(inputs / "trt", "--triton", tmp_path / "repository", code=5).stderr, "engine")
    assert not list((tmp_path / "repository").glob("*"))


def test_model_server_keeps_its_other_models(inputs: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    other = {"config": {"name": "other", "base_path": "other"}}
    (tmp_path / "config.json").write_text(json.dumps({"model_config_list": [other], "monitoring": {}}))
    run(inputs / "openvino", "--model-server", tmp_path, "--serve-as", "faces")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["monitoring"] == {}
    kept, added = config["model_config_list"]
    assert kept == other
    assert (added["config"]["name"], added["config"]["base_path"]) == ("faces", "faces")
    assert added["config"]["layout"] == {"images": "NHWC", "embeddings": "NC"}
    options = added["config"]["plugin_config"]
    model = openvino.Core().compile_model(tmp_path / "faces" / "1" / "model.onnx", "CPU", options)
    with Embedder.open(inputs / "openvino", threads=1) as embedder:
        found = model(np.ascontiguousarray(FACES[..., ::-1]))[0]
        assert float((found * embedder.embed(FACES)).sum(1).min()) > 0.999
    run(inputs / "openvino", "--model-server", tmp_path, "--serve-as", "faces", code=2)
    run(inputs / "openvino", "--model-server", tmp_path, "--serve-as", "faces", "--force")
    assert len(json.loads((tmp_path / "config.json").read_text())["model_config_list"]) == 2
    names(run(inputs / "usual", "--model-server", tmp_path / "x", code=2).stderr, "openvino", "ort-cpu")
    (tmp_path / "config.json").write_text("[]")
    run(inputs / "openvino", "--model-server", tmp_path, "--serve-as", "more", code=1)
    assert not (tmp_path / "more").exists()


def test_insightface_package(inputs: Path, tmp_path: Path, wanted: np.ndarray) -> None:
    run(inputs / "student.pt", "--insightface", tmp_path, "--serve-as", "mine", "--detector", inputs / "detector.onnx")
    package = tmp_path / "mine"
    assert files(package) == {"manifest.json", "MODEL.LICENSE", "detection.onnx", "recognition.onnx"}
    assert sorted(package.glob("*.onnx"))[-1].name == "recognition.onnx"
    manifest = json.loads((package / "manifest.json").read_text())
    assert (manifest["manifest_version"], manifest["model_id"]) == (2, "mine")
    task = manifest["tasks"]["recognition"]
    assert (task["input_size"], task["embedding_dimension"]) == ([112, 112], 16)
    for name, task in manifest["tasks"].items():
        content = (package / task["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == task["sha256"], name
    model_zoo = _insightface()
    bgr = [np.ascontiguousarray(face[..., ::-1]) for face in FACES]
    for arguments in (
        {"name": str(package), "model_task": "recognition"},
        {"name": str(package / "recognition.onnx")},
        {"name": str(inputs / "arcface" / "model.onnx")},
    ):
        model = model_zoo.get_model(**arguments, providers=["CPUExecutionProvider"])
        assert (type(model).__name__, model.input_size) == ("ArcFaceONNX", (112, 112))
        np.testing.assert_array_equal(model.get_feat(bgr), wanted)


def _insightface() -> Any:
    try:
        from insightface import model_zoo
    except ImportError as error:
        pytest.skip(f"the consumer insightface is not installed: {error}")
    return model_zoo


@pytest.mark.parametrize("text", ["float-nchw,raw", "float-nchw,raw,batch=1"])
def test_insightface_and_opencv_feed_pixels(text: str, inputs: Path, tmp_path: Path, wanted: np.ndarray) -> None:
    run(inputs / "student.pt", "-o", tmp_path / "a", "--interface", text)
    model = str(tmp_path / "a" / "model.onnx")
    bgr = [np.ascontiguousarray(face[..., ::-1]) for face in FACES]
    import cv2

    if not hasattr(cv2, "FaceRecognizerSF") or int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip(f"OpenCV {cv2.__version__} has no engine that runs the graph")
    recognizer = cv2.FaceRecognizerSF.create(model, "")
    found = np.concatenate([recognizer.feature(face) for face in bgr])
    assert float((found * wanted).sum(1).min()) > 0.999
    assert recognizer.match(found[:1], found[:1]) == pytest.approx(1, abs=1e-4)
    if text == "float-nchw,raw":
        recognition = _insightface().get_model(model, providers=["CPUExecutionProvider"])
        assert (recognition.input_mean, recognition.input_std) == (0.0, 1.0)
        np.testing.assert_array_equal(recognition.get_feat(bgr), wanted)


@pytest.mark.parametrize("target", ["ort-cpu", "openvino"])
def test_opencv(target: str, inputs: Path, tmp_path: Path) -> None:
    """OpenCV 4 has no maximum of bytes, which the PReLUs of ort-cpu are."""
    import cv2

    pytest.importorskip(target.replace("ort-cpu", "onnxruntime"))
    run(inputs / "student.pt", "--target", target, "-o", tmp_path / "a", "--opencv", tmp_path, "--serve-as", "faces")
    model = onnx.load(tmp_path / "faces.onnx")
    assert model.graph.node[-1].op_type != "LpNormalization"
    assert TensorProto.BFLOAT16 not in {tensor.data_type for tensor in model.graph.initializer}
    with Embedder.open(tmp_path / "a", threads=1, backend=target.replace("ort-cpu", "onnxruntime")) as embedder:
        embeddings = embedder.embed(FACES)
    if not hasattr(cv2, "FaceRecognizerSF") or (target == "ort-cpu" and int(cv2.__version__.split(".")[0]) < 5):
        pytest.skip(f"OpenCV {cv2.__version__} has no engine that runs the graph")
    recognizer = cv2.FaceRecognizerSF.create(str(tmp_path / "faces.onnx"), "")
    found = np.concatenate([recognizer.feature(np.ascontiguousarray(face[..., ::-1])).copy() for face in FACES])
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert float((found * embeddings).sum(1).min()) > 0.99
    run(inputs / "student.pt", "--opencv", tmp_path, "--serve-as", "faces", code=2)


def test_insightface_server(inputs: Path, tmp_path: Path) -> None:
    """Its rules: exactly these keys, files inside the folder, a square size, an id of 128 letters at most."""
    folder = tmp_path / "models"
    run(inputs / "student.pt", "--insightface-server", folder, "--detector", inputs / "detector.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    keys = {"manifest_version", "model_id", "model_version", "display_name", "files", "recognition", "license"}
    assert set(manifest) == keys
    assert manifest["manifest_version"] == 1
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", manifest["model_id"])
    assert set(manifest["files"]) == {"detector", "recognizer"}
    for name in manifest["files"].values():
        path = (folder / name).resolve()
        assert path.is_file()
        assert path.suffix == ".onnx"
        assert folder.resolve() in path.parents
    assert manifest["recognition"] == {
        "input_size": [112, 112],
        "embedding_dimension": 16,
        "preprocessing": "insightface-arcface-1",
    }
    licence = folder / manifest["license"]
    assert licence.name == "MODEL.LICENSE"
    assert not licence.exists()  # signed by InsightFace only
    names(run(inputs / "student.pt", "--insightface-server", tmp_path / "x", code=2).stderr, "--detector")


def test_immich(inputs: Path, tmp_path: Path, wanted: np.ndarray) -> None:
    run(inputs / "arcface", "--immich", tmp_path, "--detector", inputs / "detector.onnx")
    models = tmp_path / "facial-recognition" / "buffalo_l"
    assert files(models) == {"recognition/model.onnx", "detection/model.onnx"}
    session = onnxruntime.InferenceSession(models / "recognition" / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", 3, 112, 112]
    fed = (FACES.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / np.float32(127.5)
    np.testing.assert_array_equal(session.run(None, {session.get_inputs()[0].name: fed})[0], wanted)
    names(run(inputs / "arcface", "--immich", tmp_path, "--serve-as", "mine", code=2).stderr, "buffalo_l", "'mine'")
    run(inputs / "arcface", "--immich", tmp_path, code=2)
    run(inputs / "arcface", "--immich", tmp_path, "--force")


@pytest.mark.parametrize("kind", sorted(kind.name for kind in KINDS.values() if kind.interface is not None))
def test_a_surface_that_the_server_does_not_feed_is_refused(kind: str, inputs: Path, tmp_path: Path) -> None:
    detector = ("--detector", inputs / "detector.onnx")
    detector = detector if "detector" in KINDS[kind].options else ()
    for options in ((inputs / "usual",), (inputs / "student.pt", "--interface", "float-nchw,bgr")):
        result = run(*options, f"--{kind}", tmp_path / "x", *detector, code=2)
        names(result.stderr, "--interface", KINDS[kind].interface)
    assert not (tmp_path / "x").exists()


def test_what_does_not_go_together(inputs: Path, tmp_path: Path) -> None:
    student, place = inputs / "student.pt", tmp_path / "x"
    run(student, "--serve-as", "mine", code=2)
    run(student, "--triton", place, "--detector", inputs / "detector.onnx", code=2)
    run(student, "--triton", place, "--plan", inputs / "trt", code=2)
    run(student, "--immich", place, "--plan", inputs / "trt", code=2)
    for name in ("../up", "", ".hidden", "a b", "é", "n" * 129):
        run(student, "--triton", place, "--serve-as", name, code=2)
    run(inputs / "usual", "--triton", place, "--bits", 8, code=2)
    run(inputs / "usual", "--triton", place, "--no-engine", code=2)
    run(inputs / "usual", "--triton", place, "-o", tmp_path / "a", code=2)
    run(inputs / "usual", "--triton", inputs / "usual", code=2)
    detector = ("--detector", inputs / "detector.onnx")
    run(inputs / "arcface", "--insightface-server", inputs, *detector, "--force", code=2)
    run(inputs / "usual", "--triton", inputs, "--serve-as", "usual", "--force", code=2)
    run(inputs / "usual", code=2)
    (tmp_path / "text.onnx").write_text("no model")
    for detector in (tmp_path / "text.onnx", inputs / "arcface" / "model.onnx", tmp_path / "none.onnx"):
        run(inputs / "arcface", "--immich", place, "--detector", detector, code=1)
    assert not place.exists()


def test_a_damaged_artifact_is_not_served(inputs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for file in (inputs / "usual").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.onnx").write_bytes(b"changed")
    run(folder, "--triton", tmp_path / "x", code=5)
    assert not (tmp_path / "x").exists()
