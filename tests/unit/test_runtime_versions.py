"""Versions of what is installed, and where only onnxruntime-gpu holds ONNX Runtime."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from efq.runtime.backends.choice import cache_path
from efq.runtime.doctor import examine
from efq.runtime.machine.versions import installed_versions


def install(folder: Path, name: str, version: str) -> None:
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def only_gpu_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which onnxruntime-gpu 1.30 is installed, with onnxruntime out of sight."""
    found = importlib.metadata.version

    def version(name: str) -> str:
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    install(tmp_path, "onnxruntime-gpu", "1.30")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(importlib.metadata, "version", version)
    return tmp_path


def test_only_those_that_are_installed_in_the_order_given() -> None:
    found = installed_versions(["pytest", "no-such-package", "numpy"])
    assert list(found.items()) == [("pytest", pytest.__version__), ("numpy", np.__version__)]


def test_the_choice_of_a_backend_goes_with_the_version_of_either_package(only_gpu_package: Path) -> None:
    def path() -> Path:
        return cache_path("a", backends=("onnxruntime", "openvino"), threads=1, tolerance=0.0)

    first = path()
    (only_gpu_package / "onnxruntime_gpu-1.30.dist-info").rename(only_gpu_package / "old")
    install(only_gpu_package, "onnxruntime-gpu", "1.31")
    importlib.invalidate_caches()
    assert path() != first


@pytest.mark.usefixtures("only_gpu_package")
def test_the_doctor_takes_either_package() -> None:
    report = examine()
    package, _ = report.target("ort-cpu").needs
    assert (package.met, package.detail) == (True, onnxruntime.__version__)
    assert "onnxruntime" not in report.versions
