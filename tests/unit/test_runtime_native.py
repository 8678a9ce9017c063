"""The backend of EFQ's own kernels: an artifact served by it, its choice, its end."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from messages import raises_naming
from networks import BottleneckNetwork, make_student, random_images, randomize

from efq.export import export_student, find_target
from efq.runtime import Embedder, IncompatibleArtifactError, Interface, UsageError
from efq.runtime.backends import open as opening
from efq.runtime.backends.native import NativeModel
from efq.runtime.backends.onnxruntime import OnnxRuntimeModel
from efq.runtime.native.library import instruction_sets, library_path

pytestmark = pytest.mark.skipif(library_path() is None, reason="the kernels were not built: make native")
IMAGES = random_images(40, seed=5).numpy()


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("native") / "artifact"
    student = make_student(randomize(BottleneckNetwork()), activation="prelu")
    export_student(student, find_target("ort-cpu"), folder, bits=8)
    return folder


def test_it_serves_with_onnx_runtimes_embeddings(artifact: Path) -> None:
    """But for the last bits of the length, which ONNX Runtime sums in float32."""
    with (
        Embedder.open(artifact, threads=2, backend="native") as native,
        Embedder.open(artifact, threads=1, backend="onnxruntime") as other,
    ):
        assert native.backend == "native"
        found = native.embed(IMAGES)
        np.testing.assert_allclose(found, other.embed(IMAGES), atol=1e-6)
        assert native.embed(IMAGES[:1]).tobytes() == found[:1].tobytes(), "one image's bytes depend on its batch"


def test_every_instruction_set_gives_the_same_bytes(artifact: Path) -> None:
    models = [NativeModel(artifact / "model.onnx", threads=1, instruction_set=name) for name in instruction_sets()]
    assert len({model.run(IMAGES).tobytes() for model in models}) == 1
    assert len(models) > 1 or os.uname().machine != "x86_64"


@pytest.mark.parametrize("count", [1, 2, 3, 5, 40])
def test_every_number_of_threads_gives_the_same_bytes(artifact: Path, count: int) -> None:
    found = set()
    for threads in (1, 2, 3, 8):
        model = NativeModel(artifact / "model.onnx", threads=threads)
        found |= {model.run(IMAGES[:count]).tobytes() for _ in range(25 if count == 1 else 2)}
        model.close()
    assert len(found) == 1


def test_threads_begin_with_the_first_call_and_end_with_the_model(artifact: Path) -> None:
    tasks = Path("/proc/self/task")

    def running() -> int:
        return len(list(tasks.iterdir()))

    if not tasks.is_dir():
        pytest.skip("the system does not list a process' threads")
    before = running()
    one = NativeModel(artifact / "model.onnx", threads=1)
    one.run(IMAGES)
    four = NativeModel(artifact / "model.onnx", threads=4)
    assert running() == before
    four.run(IMAGES)
    assert running() == before + 3
    four.run(IMAGES[:1])
    assert running() == before + 3
    four.close()
    end = time.monotonic() + 10
    while running() > before and time.monotonic() < end:  # Linux lists a thread for a moment after it was joined
        time.sleep(0.01)
    assert running() == before
    one.close()


def test_calls_from_many_threads_and_the_end(artifact: Path) -> None:
    model = NativeModel(artifact / "model.onnx", threads=2)
    wanted = model.run(IMAGES).tobytes()
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.extend(model.run(IMAGES).tobytes() for _ in range(3))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 12
    model.close()
    model.close()
    with pytest.raises(UsageError):
        model.run(IMAGES)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_of_a_fork_computes_with_a_model_of_its_own(artifact: Path) -> None:
    with Embedder.open(artifact, threads=2, backend="native") as embedder:
        wanted = embedder.embed(IMAGES).tobytes()
        child = os.fork()
        if not child:
            os._exit(0 if embedder.embed(IMAGES).tobytes() == wanted else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("count", [1, 40])
def test_a_child_of_a_fork_waits_for_no_thread_of_its_parents_model(artifact: Path, count: int) -> None:
    model = NativeModel(artifact / "model.onnx", threads=3)
    wanted = model.run(IMAGES[:count]).tobytes()
    child = os.fork()
    if not child:
        same = model.run(IMAGES[:count]).tobytes() == wanted
        model.close()
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert model.run(IMAGES[:count]).tobytes() == wanted
    model.close()


def test_metadata_and_signature_are_those_of_onnx_runtime(artifact: Path) -> None:
    path = artifact / "model.onnx"
    native, other = NativeModel(path, threads=1), OnnxRuntimeModel(path, threads=1)
    assert native.metadata == other.metadata
    with raises_naming(IncompatibleArtifactError, path):
        native.check_signature(Embedder.open(artifact, threads=1, backend="native").contract, 17)
    other.close()


def test_it_serves_where_onnx_runtime_is_not_installed(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "is_installed", lambda backend: False)
    with Embedder.open(artifact, threads=1) as embedder:
        assert embedder.backend == "native"


def test_another_interface_is_another_runtimes(tmp_path: Path) -> None:
    student = make_student(randomize(BottleneckNetwork()), activation="relu")
    folder = tmp_path / "artifact"
    export_student(student, find_target("ort-cpu"), folder, bits=8, interface=Interface.parse("float-nchw"))
    with raises_naming(IncompatibleArtifactError, "images"):
        Embedder.open(folder, threads=1, backend="native")
    Embedder.open(folder, threads=1).close()
