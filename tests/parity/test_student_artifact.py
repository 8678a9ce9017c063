"""A student and its exported artifact: the same embeddings in integers, close ones under fake quantization.

Fake quantization rounds a few values in a thousand differently (docs/decisions/0006-integer-reference.md).
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import NETWORKS, make_student, random_images, randomize

from efq.export import export_student, find_target
from efq.export.references.integer import IntegerReference
from efq.runtime import Embedder, InputContract
from efq.runtime.backends.onnxruntime import OnnxRuntimeModel
from efq.runtime.backends.threads.single_image import TRIAL_CALLS
from efq.toolchain.data import open_faces
from efq.toolchain.lowering import lower
from efq.toolchain.networks import torch_embedding
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import Student, load_student, save_student
from efq.toolchain.teachers import open_teacher

IMAGES = random_images(32, seed=11).numpy()
CPU = torch.device("cpu")


@pytest.mark.parametrize("activation", ["relu", "leaky", "prelu", "mixed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_through_the_files(name: str, activation: str, tmp_path: Path) -> None:
    """student.pt -> artifact -> Embedder, against the student in torch."""
    save_student(make_student(randomize(NETWORKS[name]()), activation=activation), tmp_path / "student.pt")
    student = load_student(tmp_path / "student.pt")
    export = export_student(student, find_target("ort-cpu"), tmp_path / "artifact", bits=8)
    embedder = Embedder.open(tmp_path / "artifact", threads=1, backend="onnxruntime")
    assert embedder.contract == InputContract(height=28, width=28)
    found = embedder.embed(IMAGES)
    exact = (found * torch_embedding(IntegerReference(student), CPU)(IMAGES)).sum(1)
    assert float(exact.min()) >= 0.9999
    simulated = (found * torch_embedding(student.network, CPU)(IMAGES)).sum(1)
    assert float(np.median(simulated)) >= 0.999
    assert float(simulated.min()) >= 0.997
    assert export.parity["least_cosine_to_integer_student"] >= 0.9999
    assert export.coverage.multiply_add_fraction == 1.0
    assert embedder.manifest.bits == {"weights": 7, "activations": 8}
    shared = Embedder.open(tmp_path / "artifact", threads=2, backend="onnxruntime")
    single = {shared.embed(IMAGES[:1]).tobytes() for _ in range(3 * TRIAL_CALLS)}
    assert single == {found[:1].tobytes()}, "one image's bytes depend on the threads it was given"


@pytest.mark.faces
@pytest.mark.slow
@pytest.mark.parametrize("activation", ["prelu", "relu"])
def test_of_the_mobilefacenet_on_faces(
    faces_root: Path, activation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InsightFace's MobileFaceNet, calibrated on few faces: every image's cosine and the same decisions."""
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    listing = faces_root / "splits" / "dev.txt"
    faces = open_faces(faces_root, listing=listing, max_images=48)
    teacher = open_teacher(faces_root / "weights" / "mobilefacenet_y1.pt")
    recipe = Recipe(name="t", activation=activation)
    images = np.array(faces.images)
    mean, std = teacher.normalization.mean, teacher.normalization.std
    network, report = lower(teacher.network, recipe, torch.from_numpy(images[:24]), mean=mean, std=std)
    describe = functools.partial(
        Student,
        network=network,
        backbone=teacher.name,
        recipe=recipe.to_dict(),
        contract=teacher.contract,
        embedding_size=128,
    )
    student = describe(
        teacher={}, data={}, activations=report.activations, notes=(), training={}, thresholds={}, training_hashes=()
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(find_target("ort-cpu").write(student).SerializeToString())
    wanted = torch_embedding(IntegerReference(student), CPU)(images)
    found = OnnxRuntimeModel(path, threads=1).run(images)
    exact = (found * wanted).sum(1)
    assert float(np.median(exact)) >= 0.99999
    assert float(exact.min()) >= 0.999  # where one value lands on the other side of a half, others after it change
    assert float((found * torch_embedding(network, CPU)(images)).sum(1).min()) >= 0.99
    upper = np.triu_indices(len(images), 1)
    decisions = [(embeddings @ embeddings.T)[upper] > 0.4 for embeddings in (found, wanted)]
    assert float((decisions[0] == decisions[1]).mean()) >= 0.999
    if activation == "prelu":
        float_embeddings = torch_embedding(teacher.normalized, CPU)(images)
        assert float((found * float_embeddings).sum(1).mean()) > 0.98
