"""The wheel and the source distribution: they hold everything, and the wheel serves an artifact with nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from artifacts import random_faces
from messages import names

from efq.runtime import Embedder

ROOT = Path(__file__).parents[2]
LAYERS = ("runtime", "toolchain", "export", "benchmarks")
PACKAGED = (".css", ".html", ".js", ".py", ".svg", ".toml", ".typed")
FILES = ("pyproject.toml", "README.md", "LICENSE")

BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
SERVE = """
import importlib.util, sys
import numpy as np
from efq.runtime import Embedder, align
absent = ("torch", "onnx", "onnx_ir", "openvino", "matplotlib")
assert not [name for name in absent if importlib.util.find_spec(name)]
images = np.load(sys.argv[2])
align(images[0], np.array([(38, 52), (74, 52), (56, 72), (42, 92), (71, 92)]))
with Embedder.open(sys.argv[1], threads=1) as embedder:
    np.save(sys.argv[3], embedder.embed(images))
"""

pytestmark = pytest.mark.slow


def run(words: Sequence[str | Path], folder: Path) -> str:
    """The standard output of a command that has to succeed."""
    done = subprocess.run([str(word) for word in words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, kind: str, folder: Path) -> Path:
    """Build a "wheel" or an "sdist" of `source` into `folder`, by the setuptools of this environment."""
    return folder / run([sys.executable, "-c", BUILD, f"build_{kind}", folder], source).split()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in FILES:
        shutil.copy(ROOT / name, source)
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, source / layer, ignore=shutil.ignore_patterns("__pycache__"))
    return build(source, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution alone."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with the wheel and what pip installs for it."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    options = ("--quiet", "--no-compile", "--prefer-binary", "-c", ROOT / "constraints.txt")
    command = [str(word) for word in (*pip, "install", *options, wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No matching distribution found" in done.stderr:
        pytest.skip(f"pip finds no packages to install: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python


def test_the_wheel_holds_every_module_and_all_data(wheel: Path) -> None:
    files = (path for layer in LAYERS for path in (ROOT / layer).rglob("*") if path.suffix in PACKAGED)
    expected = {f"efq/{path.relative_to(ROOT).as_posix()}" for path in files}
    found = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("efq/")}
    libraries = ("efq/runtime/native/kernels.", "efq/runtime/faces/formats/scan_walks.")
    built = {name for name in found if name.startswith(libraries)}
    assert found - built == expected
    assert len(built) == (len(libraries) if shutil.which("g++") else 0), "C++ is built where there is a compiler"
    assert {
        "efq/benchmarks/demo/page.css",
        "efq/benchmarks/pages/style.css",
        "efq/toolchain/recipes/prelu.toml",
        "efq/runtime/py.typed",
    } <= found


def test_the_source_distribution_says_what_it_is(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert set(FILES) <= found


def test_the_wheel_serves_an_artifact_with_only_the_base_dependencies(
    clean_python: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    images = random_faces(5)
    np.save(tmp_path / "images.npy", images)
    run([clean_python, "-c", SERVE, tiny_artifact, "images.npy", "embeddings.npy"], tmp_path)
    with Embedder.open(tiny_artifact, threads=1, backend="onnxruntime") as embedder:
        np.testing.assert_array_equal(np.load(tmp_path / "embeddings.npy"), embedder.embed(images))


def test_its_commands_run_or_say_what_they_need(clean_python: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "face.png"), random_faces(1)[0])
    commands = clean_python.parent
    run([commands / "efq-embed", tiny_artifact, "face.png", "-o", "embeddings.npz"], tmp_path)
    assert np.load(tmp_path / "embeddings.npz")["embeddings"].shape == (1, 16)
    run([commands / "efq-doctor", "ort-cpu"], tmp_path)
    missing = subprocess.run(
        [commands / "efq-bench", tiny_artifact, "--teacher", "teacher.pt", "-o", "report"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert missing.returncode == 4, missing.stderr
    names(missing.stderr, "pip install 'efq[train]'")
