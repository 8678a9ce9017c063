"""An artifact's engine from opening to closing: checked, refused, rebuilt, its compiled kernels kept."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artifacts import make_artifact, make_manifest
from fake_cuda import FakeCuda
from fake_tensorrt import LIMITS, SHAPE, SIZE, embed, faces, make_module, make_plan
from messages import raises_naming

from efq.runtime import DeviceError, Embedder, EngineError, InputContract, UsageError
from efq.runtime.artifact.folder import ENGINE_FOLDER, Artifact
from efq.runtime.progress import Progress, ShowProgress, no_progress
from efq.runtime.tensorrt import engine_cache
from efq.runtime.tensorrt import open as opening
from efq.runtime.tensorrt.build.builder import LOG_FILE, PLAN_FILE, BuiltEngine
from efq.runtime.tensorrt.build.layers import Layer
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.engine_cache import fingerprint_of, read_fingerprint, write_engine, write_options

OPTIONS = BuildOptions(batches=LIMITS)
CONTRACT = InputContract(height=SHAPE[0], width=SHAPE[1])


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


@pytest.fixture(params=["trt", "trt-rtx"])
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def module(cuda: FakeCuda, target: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = make_module(cuda, "rtx" if target == "trt-rtx" else "10.3")
    monkeypatch.setattr(opening, "import_tensorrt", lambda name: module)
    monkeypatch.setattr(opening, "open_cuda", lambda device: cuda)
    return module


@pytest.fixture
def artifact(tmp_path: Path, target: str) -> Path:
    manifest = make_manifest(target=target, input=CONTRACT, embedding_size=SIZE)
    return make_artifact(tmp_path / "artifact", manifest=manifest)


def built(folder: Path, version: str, plan: bytes, *layers: Layer) -> BuiltEngine:
    folder.mkdir(exist_ok=True)
    (folder / PLAN_FILE).write_bytes(plan)
    (folder / LOG_FILE).write_text("log")
    return BuiltEngine(folder=folder, version=version, seconds=1.0, layers=layers)


def add_engine(artifact: Path, module: Any, cuda: FakeCuda, **changes: Any) -> None:
    """The engine of a build on this very machine, its fingerprint changed by `changes`."""
    machine = opening.machine_of(module, cuda)
    made = built(artifact.parent / "built", module.__version__, make_plan())
    opened = Artifact.open(artifact)
    fingerprint = fingerprint_of(made, opened.manifest.target, opened.model_path, OPTIONS, machine)
    write_engine(artifact / ENGINE_FOLDER, made, dataclasses.replace(fingerprint, **changes))


def test_embeds_and_closes(artifact: Path, module: Any, cuda: FakeCuda) -> None:
    add_engine(artifact, module, cuda)
    with Embedder.open(artifact) as embedder:
        for count in (1, 40, 100):
            np.testing.assert_array_equal(embedder.embed(faces(count)), embed(faces(count)))
    assert not any(cuda.live().values())
    with pytest.raises(UsageError):
        embedder.embed(faces(1))


def test_an_engine_of_another_version_is_refused(artifact: Path, module: Any, cuda: FakeCuda) -> None:
    add_engine(artifact, module, cuda, version="9.9")
    with raises_naming(EngineError, artifact / ENGINE_FOLDER, 9.9, module.__version__, "rebuild=True"):
        Embedder.open(artifact)
    assert module.engines == []


def test_rebuild_builds_only_what_does_not_fit(
    artifact: Path, module: Any, cuda: FakeCuda, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The builder is the fake's: what is asked of it, and what becomes of its plan, is what is looked at."""
    builds: list[tuple[str, BuildOptions]] = []

    def show(description: str, total: int | None, unit: str = "") -> AbstractContextManager[Progress]:
        return no_progress(description, total, unit)

    def build(
        name: str, model: Path, folder: Path, options: BuildOptions, *, device: str, progress: ShowProgress
    ) -> BuiltEngine:
        assert device == "cuda"
        assert progress is show
        builds.append((name, options))
        return built(folder, module.__version__, make_plan())

    monkeypatch.setattr(engine_cache, "build_engine", build)
    options = dataclasses.replace(OPTIONS, workspace_mib=256)
    write_options(artifact / ENGINE_FOLDER, options)
    with raises_naming(EngineError, artifact / ENGINE_FOLDER, "rebuild=True"):
        Embedder.open(artifact)
    with Embedder.open(artifact, rebuild=True, progress=show) as embedder:
        np.testing.assert_array_equal(embedder.embed(faces(3)), embed(faces(3)))
    with Embedder.open(artifact, rebuild=True):
        pass
    assert builds == [(target, options)]
    fingerprint = read_fingerprint(artifact / ENGINE_FOLDER)
    assert (fingerprint.target, fingerprint.options) == (target, options)
    assert fingerprint.gpu == ("Fake" if target == "trt" else None)
    Artifact.open(artifact)


def test_a_rebuilt_engine_in_float_is_refused_and_the_older_stays(
    artifact: Path, module: Any, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_engine(artifact, module, cuda, version="9.9")
    values = {"constants": (), "outputs": (), "tactic": "", "nodes": ("conv",)}
    layer = Layer(name="conv", kind="correlation", inputs=("float16",), **values)  # type: ignore[arg-type]
    monkeypatch.setattr(
        engine_cache,
        "build_engine",
        lambda name, model, folder, options, **_: built(folder, "1", make_plan(), layer),
    )
    counts = {"multiply_adds": {"integer": 5, "total": 5}}
    manifest = dataclasses.replace(Artifact.open(artifact).manifest, coverage=counts)
    make_artifact(artifact, manifest=manifest)
    with raises_naming(engine_cache.CoverageError, 1, "conv"):
        Embedder.open(artifact, rebuild=True)
    assert read_fingerprint(artifact / ENGINE_FOLDER).version == "9.9"


def test_what_tensorrt_rtx_compiled_is_kept_for_the_next_process(artifact: Path, module: Any, cuda: FakeCuda) -> None:
    add_engine(artifact, module, cuda)
    with Embedder.open(artifact) as embedder:
        embedder.embed(faces(4))
    cache = artifact / ENGINE_FOLDER / opening.RUNTIME_CACHE_FILE
    assert cache.is_file() == (module.__name__ == "tensorrt_rtx")
    if cache.is_file():
        content = cache.read_bytes()
        Embedder.open(artifact).close()
        assert cache.read_bytes() == content
        cache.write_bytes(b"of another plan")
        Embedder.open(artifact).close()


def test_closing_again_does_nothing(artifact: Path, module: Any, cuda: FakeCuda) -> None:
    add_engine(artifact, module, cuda)
    with Embedder.open(artifact) as embedder:
        embedder.embed(faces(4))
        embedder.close()
        assert not any(cuda.live().values())
    embedder.close()


def test_closing_frees_the_gpu_where_the_cache_has_no_place(artifact: Path, module: Any, cuda: FakeCuda) -> None:
    add_engine(artifact, module, cuda)
    embedder = Embedder.open(artifact)
    embedder.embed(faces(4))
    (artifact / ENGINE_FOLDER / engine_cache.FINGERPRINT_FILE).unlink()
    embedder.close()
    assert not any(cuda.live().values())
    assert not (artifact / ENGINE_FOLDER / opening.RUNTIME_CACHE_FILE).exists()


def test_a_gpu_that_fails_while_closing_is_freed(artifact: Path, module: Any, cuda: FakeCuda) -> None:
    add_engine(artifact, module, cuda)
    embedder = Embedder.open(artifact)
    cuda.failures["synchronize"] = DeviceError("expected a stream that ends, found a GPU that failed")
    embedder.close()
    assert not cuda.failures
    assert not any(cuda.live().values())


def test_an_opened_engine_is_a_model_with_its_metadata(artifact: Path, module: Any, cuda: FakeCuda) -> None:
    add_engine(artifact, module, cuda)
    with Embedder.open(artifact) as embedder:
        assert embedder.backend == "tensorrt"
        Artifact.open(artifact).check_model_metadata(embedder._model.metadata)
    with pytest.raises(UsageError):
        Embedder.open(artifact, backend="onnxruntime")


def test_another_kind_of_device(artifact: Path, target: str) -> None:
    with raises_naming(DeviceError, target, "cuda", "npu"):
        Embedder.open(artifact, device="npu")
