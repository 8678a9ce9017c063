"""A target from outside: one row, one export side, no file of EFQ touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from extensions import install
from messages import names
from networks import NETWORKS, make_student, random_images, randomize

from efq.export.references.integer import IntegerReference
from efq.toolchain.networks import torch_embedding
from efq.toolchain.student import save_student

ROW = """
from pathlib import Path

import numpy as np
import onnxruntime

from efq.runtime.targets import Target


class ToyModel:
    name = "toy runtime"

    def __init__(self, path: Path) -> None:
        self._session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)

    def check_signature(self, contract, embedding_size) -> None:
        assert self._session.get_outputs()[0].shape[1] == embedding_size

    def run(self, images):
        return np.asarray(self._session.run(None, {"images": images})[0])

    def close(self) -> None:
        self._session = None


def open_toy(target, artifact, options):
    return ToyModel(artifact.model_path)


TARGET = Target(
    name="toy",
    devices=("cpu",),
    backends=("toy runtime",),
    open=open_toy,
    needs=lambda target, hardware: (),
    exporter="toy_export:TARGET",
    packages=("click",),
)
"""
EXPORT = """
import dataclasses

from toy import ToyModel
from torch import nn

from efq.export import GraphPass, QdqTarget
from efq.export.targets.ort_cpu.evidence import collect_evidence
from efq.toolchain.graph.operations import Flatten
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, replace_module


class ToyFlatten(nn.Module):
    pass


def own_flatten(network, contract):
    found = list(calls(network, Flatten))
    for node, _ in found:
        replace_module(network, node, ToyFlatten())
    return PassResult(changed=len(found))


def write_flatten(writer, call, inputs):
    flat = writer.node("Flatten", [writer.float_of(inputs[0])], {"axis": 1}, "toy_flatten")
    return writer.quantize(flat, inputs[0].grid)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(QdqTarget):
    def open_model(self, path, *, reduced_range):
        return ToyModel(path)

    def collect_evidence(self, path, *, images, runs):
        return collect_evidence(path, images=images, runs=runs)

    def card_sentences(self, manifest):
        return ["Toys are not for service."]


TARGET = Toy(
    name="toy",
    description="a runtime from outside",
    passes=(GraphPass(rewrite=own_flatten, handlers={ToyFlatten: write_flatten}),),
)
"""
EMBED = """
import sys
import numpy as np
from efq.runtime import Embedder
with Embedder.open(sys.argv[1]) as embedder:
    np.save(sys.argv[3], embedder.embed(np.load(sys.argv[2])))
    print(embedder.backend, embedder.manifest.target)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("toy")
    found = install(folder, name="toy", code=ROW, entry_points={"efq.targets": {"toy": "toy:TARGET"}})
    (folder / "toy_export.py").write_text(EXPORT, encoding="utf-8")
    return found


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_a_student_is_exported_to_it_and_served_by_it(environment: dict[str, str], tmp_path: Path) -> None:
    student = make_student(randomize(NETWORKS["bottleneck"]()))
    save_student(student, tmp_path / "student.pt")
    artifact = tmp_path / "artifact"
    command = ["-m", "efq.export.export_command", str(tmp_path / "student.pt"), "--target", "toy", "--json"]
    planned = run(environment, *command, "--dry-run")
    assert json.loads(planned.stdout)["target"] == "toy", planned.stderr
    exported = run(environment, *command, "-o", str(artifact))
    assert exported.returncode == 0, exported.stderr
    result = json.loads(exported.stdout)
    assert result["coverage"]["multiply_adds"]["integer"] == result["coverage"]["multiply_adds"]["total"]
    assert "Toys are not for service." in (artifact / "README.md").read_text(encoding="utf-8")
    assert "click" in json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))["tools"]
    written = {node.name for node in onnx.load(artifact / "model.onnx").graph.node}
    assert "toy_flatten" in written
    images = random_images(4, seed=1).numpy()
    np.save(tmp_path / "images.npy", images)
    served = run(
        environment, "-c", EMBED, str(artifact), str(tmp_path / "images.npy"), str(tmp_path / "embeddings.npy")
    )
    assert served.returncode == 0, served.stderr
    assert served.stdout.split() == ["toy", "runtime", "toy"]
    wanted = torch_embedding(IntegerReference(student), torch.device("cpu"))(images)
    assert float((np.load(tmp_path / "embeddings.npy") * wanted).sum(1).min()) > 0.9999


def test_without_its_package_the_target_is_unknown(tmp_path: Path) -> None:
    save_student(make_student(randomize(NETWORKS["bottleneck"]())), tmp_path / "student.pt")
    exported = run(
        dict(os.environ),
        "-m",
        "efq.export.export_command",
        str(tmp_path / "student.pt"),
        "--target",
        "toy",
        "-o",
        str(tmp_path / "a"),
    )
    assert exported.returncode == 2
    names(exported.stderr, "'toy'", "ort-cpu", "openvino", "trt", "trt-rtx")
    assert not (tmp_path / "a").exists()
