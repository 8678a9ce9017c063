"""A target from outside: a package with one entry point, of which EFQ knows nothing, opens its artifacts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from artifacts import EMBEDDING_SIZE, make_artifact, make_manifest, random_faces, reference_embeddings
from extensions import install
from messages import names

FACES = random_faces(3)

TOY = '''
"""The target toy: any CPU, in a session of its own."""

import onnxruntime

from efq.runtime.artifact.onnx_metadata import read_onnx_metadata
from efq.runtime.errors import UsageError
from efq.runtime.targets import Need, Target


class ToyModel:
    name = "toy-runtime"

    def __init__(self, path):
        self._path = path
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    @property
    def metadata(self):
        return read_onnx_metadata(self._path)

    def check_signature(self, contract, embedding_size):
        assert self._session.get_outputs()[0].shape[1] == embedding_size

    def run(self, images):
        if self._session is None:
            raise UsageError("the model is closed")
        return self._session.run(["embeddings"], {"images": images})[0]

    def close(self):
        self._session = None


def open_toy(target, artifact, options):
    assert (target.name, options.device) == ("toy", "npu:1")
    return ToyModel(artifact.model_path)


def toy_needs(target, hardware):
    return (Need(what="a toy box", met=hardware.cpu.cores > 0, detail="found under the bed"),)


TARGET = Target(
    name="toy", devices=("npu", "cpu"), backends=(), open=open_toy, needs=toy_needs, exporter="efq_toy:EXPORTER"
)
'''

OPEN = """
import sys
import numpy as np
from efq.runtime import Embedder, UsageError
with Embedder.open(sys.argv[1], "npu:1") as embedder:
    print(embedder.backend, embedder.manifest.target)
    np.save(sys.argv[3], embedder.embed(np.load(sys.argv[2])))
try:
    embedder.embed(np.load(sys.argv[2]))
except UsageError:
    print("closed")
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process that has the package."""
    folder = tmp_path_factory.mktemp("package")
    return install(folder, name="efq_toy", code=TOY, entry_points={"efq.targets": {"toy": "efq_toy:TARGET"}})


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("toy") / "artifact", manifest=make_manifest(target="toy"))


def run(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_embedder_opens_runs_and_closes_it(artifact: Path, environment: dict[str, str], tmp_path: Path) -> None:
    np.save(tmp_path / "faces.npy", FACES)
    paths = (artifact, tmp_path / "faces.npy", tmp_path / "embeddings.npy")
    result = run("-c", OPEN, *paths, environment=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["toy-runtime", "toy", "closed"]
    np.testing.assert_allclose(np.load(tmp_path / "embeddings.npy"), reference_embeddings(FACES), atol=2e-6)


def test_efq_embed_serves_it(artifact: Path, environment: dict[str, str], tmp_path: Path) -> None:
    for index, face in enumerate(FACES):
        cv2.imwrite(str(tmp_path / f"{index}.png"), face[:, :, ::-1])
    options = ("--device", "npu:1", "-o", tmp_path / "out.npz", "--json")
    result = run("-m", "efq.runtime.embed_command", artifact, tmp_path, *options, environment=environment)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["backend"], summary["images"]) == ("toy-runtime", len(FACES))
    with np.load(tmp_path / "out.npz", allow_pickle=False) as saved:
        assert saved["embeddings"].shape == (len(FACES), EMBEDDING_SIZE)
        np.testing.assert_allclose(saved["embeddings"], reference_embeddings(FACES), atol=2e-6)


def test_efq_doctor_says_what_it_needs(environment: dict[str, str]) -> None:
    result = run("-m", "efq.runtime.doctor_command", "toy", environment=environment)
    assert result.returncode == 0, result.stderr
    assert "found under the bed" in result.stdout
    report = json.loads(run("-m", "efq.runtime.doctor_command", "--json", environment=environment).stdout)
    assert list(report["targets"]) == ["ort-cpu", "openvino", "litert", "trt", "trt-rtx", "toy"]
    assert report["targets"]["toy"]["runs"] is True


@pytest.mark.parametrize("device", ["cuda:0", "gpu"])
def test_a_device_it_does_not_run_on_is_refused(
    artifact: Path, environment: dict[str, str], tmp_path: Path, device: str
) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), FACES[0])
    options = ("--device", device, "-o", tmp_path / "out.npz")
    result = run("-m", "efq.runtime.embed_command", artifact, tmp_path, *options, environment=environment)
    assert result.returncode == 4
    names(result.stderr, "toy", "npu", device)


def test_without_the_package_the_artifact_is_refused_with_the_targets_there_are(artifact: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), FACES[0])
    result = run("-m", "efq.runtime.embed_command", artifact, tmp_path, "-o", tmp_path / "out.npz")
    assert result.returncode == 5
    names(result.stderr, "'toy'", "ort-cpu", "openvino", "trt", "trt-rtx")
