"""The same embeddings on CPUs without VNNI, where sums of 8-bit products saturate.

valgrind runs a program on an x86 CPU with AVX2 and without AVX-512 and VNNI; OpenVINO's kernels can be limited by
ONEDNN_MAX_CPU_ISA.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import NETWORKS, make_student, random_images, randomize

from efq.export import export_student, find_target
from efq.runtime import Embedder

IMAGES = random_images(8, seed=5).numpy()

EMBED = """
import sys
import numpy as np
from efq.runtime import Embedder
from efq.runtime.backends.saturation import products_saturate
directory, images, output, backend = sys.argv[1:]
np.save(output, Embedder.open(directory, threads=1, backend=backend).embed(np.load(images)))
print(products_saturate())
"""

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="these are x86 instruction sets")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders "eight" and "seven", by bits of the weights, for ONNX Runtime."""
    root = tmp_path_factory.mktemp("artifacts")
    student = make_student(randomize(NETWORKS["bottleneck"]()), full_range=True)
    export_student(student, find_target("ort-cpu"), root / "eight", bits=8, full_range=True)
    export_student(student, find_target("ort-cpu"), root / "seven", bits=8)
    np.save(root / "images.npy", IMAGES)
    return root


def embed(
    root: Path, name: str, backend: str, *, prefix: tuple[str, ...] = (), **environment: str
) -> tuple[np.ndarray, bool]:
    """The embeddings in a process of its own, and whether 8-bit products saturate in ONNX Runtime there."""
    output = root / f"{name}-{backend}.npy"
    command = [*prefix, sys.executable, "-c", EMBED, str(root / name), str(root / "images.npy"), str(output), backend]
    result = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return np.asarray(np.load(output)), result.stdout.split()[-1] == "True"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eight", "seven"])
def test_onnxruntime_gives_the_same_bits_without_vnni(artifacts: Path, name: str) -> None:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("valgrind is not installed")
    found, saturating = embed(artifacts, name, "onnxruntime", prefix=(valgrind, "--tool=none", "-q"))
    assert saturating
    np.testing.assert_array_equal(
        found, Embedder.open(artifacts / name, threads=1, backend="onnxruntime").embed(IMAGES)
    )


@pytest.mark.parametrize(("isa", "exact"), [("AVX512_CORE", True), ("AVX2", True), ("SSE41", False)])
def test_openvino_gives_the_same_embeddings_with_seven_bits(artifacts: Path, isa: str, exact: bool) -> None:
    pytest.importorskip("openvino")
    wanted = Embedder.open(artifacts / "seven", threads=1, backend="openvino").embed(IMAGES)
    found, _ = embed(artifacts, "seven", "openvino", ONEDNN_MAX_CPU_ISA=isa)
    if exact:
        np.testing.assert_array_equal(found, wanted)
    assert float((found * wanted).sum(1).min()) > 0.9999


def test_seven_bits_cost_little(artifacts: Path) -> None:
    eight, seven = (Embedder.open(artifacts / name, threads=1).embed(IMAGES) for name in ("eight", "seven"))
    assert float((eight * seven).sum(1).min()) > 0.98
    assert Embedder.open(artifacts / "seven", threads=1).manifest.bits["weights"] == 7
