"""Each CPU backend computes the reference's embeddings, however a batch is spread over threads."""

from __future__ import annotations

import os
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from artifacts import EMBEDDING_SIZE, make_artifact, make_manifest, make_model, random_faces, reference_embeddings
from messages import raises_naming
from numpy.typing import NDArray

from efq.runtime import Embedder, IncompatibleArtifactError, MissingDependencyError, UsageError
from efq.runtime.artifact.folder import MODEL_FILE, write_checksums
from efq.runtime.backends.model import LARGE_PART, SMALL_PART, part_size
from efq.runtime.backends.onnxruntime_module import LEAST_VERSION, import_onnxruntime
from efq.runtime.backends.target import AUTOMATIC
from efq.runtime.backends.threads.lifetime import Lifetime
from efq.runtime.backends.threads.workers import Workers

BACKENDS = ("onnxruntime", "openvino")


@pytest.fixture(autouse=True)
def _require_openvino(request: pytest.FixtureRequest) -> None:
    if "openvino" in request.node.name:
        pytest.importorskip("openvino")


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_embeddings_are_those_of_the_reference(tiny_artifact: Path, backend: str, threads: int) -> None:
    embedder = Embedder.open(tiny_artifact, threads=threads, backend=backend)
    assert embedder.backend == backend
    for count in (1, 2, 7, 8, 9, 70):
        faces = random_faces(count, seed=count)
        embeddings = embedder.embed(faces)
        assert embeddings.flags.owndata
        np.testing.assert_allclose(embeddings, reference_embeddings(faces), atol=2e-6)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_closed_model_is_freed_and_refuses_calls(tiny_artifact: Path, backend: str, threads: int) -> None:
    with Embedder.open(tiny_artifact, threads=threads, backend=backend) as embedder:
        expected = embedder.embed(random_faces(20))
        model = embedder._model
    assert embedder.backend == backend
    for call in (
        lambda: embedder.embed(random_faces(1)),
        lambda: embedder.embed(random_faces(20)),
        lambda: model.metadata,
        lambda: model.check_signature(embedder.contract, EMBEDDING_SIZE),
    ):
        with pytest.raises(UsageError):
            call()
    embedder.close()
    again = Embedder.open(tiny_artifact, threads=threads, backend=backend)
    np.testing.assert_array_equal(again.embed(random_faces(20)), expected)


def test_closing_waits_for_the_calls_that_run() -> None:
    lifetime, inside, leave = Lifetime("sessions"), threading.Event(), threading.Event()

    def call() -> str:
        with lifetime.call():
            held = lifetime.held()
            inside.set()
            assert leave.wait(20)
            return held

    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(call)
        assert inside.wait(20)
        closing = pool.submit(lifetime.close)
        with pytest.raises(TimeoutError):
            closing.result(0.05)
        with pytest.raises(UsageError), lifetime.call():
            lifetime.held()
        leave.set()
        assert running.result(20) == "sessions"
        closing.result(20)
    lifetime.close()


def test_a_call_that_closes_does_not_wait_for_itself() -> None:
    """As a signal handler does, which runs within the call."""
    lifetime = Lifetime("sessions")
    with lifetime.call():
        lifetime.close()
        with pytest.raises(UsageError):
            lifetime.held()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_that_does_not_fit_is_refused(tmp_path: Path, backend: str) -> None:
    manifest = make_manifest()
    wrong = {
        "fixed": (manifest, make_model(manifest, batch=1), ("input", "images", "[1, 112, 112, 3]")),
        "renamed": (
            manifest,
            make_model(manifest, output_name="features_out"),
            ("output", "embeddings", "features_out"),
        ),
        "size": (
            make_manifest(embedding_size=EMBEDDING_SIZE + 1),
            make_model(manifest),
            ("output", EMBEDDING_SIZE, EMBEDDING_SIZE + 1),
        ),
    }
    for name, (other, model, facts) in wrong.items():
        directory = make_artifact(tmp_path / name, manifest=other, model=model)
        with raises_naming(IncompatibleArtifactError, directory / MODEL_FILE, *facts, "efq-export"):
            Embedder.open(directory, backend=backend)
    directory = make_artifact(tmp_path / "damaged")
    (directory / MODEL_FILE).write_bytes((directory / MODEL_FILE).read_bytes()[:1000])
    write_checksums(directory)
    with raises_naming(IncompatibleArtifactError, directory / MODEL_FILE, "efq-export"):
        Embedder.open(directory, backend=backend)


def test_an_absent_package_is_named_with_its_remedy(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efq.runtime.backends.openvino_core._of_process", None)
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with raises_naming(MissingDependencyError, "OpenVINO", "pip install 'efq[openvino]'") as caught:
        Embedder.open(tiny_artifact, backend="openvino")
    assert caught.value.exit_code == 4


def test_an_artifact_for_openvino_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efq.runtime.backends.openvino_core._of_process", None)
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    monkeypatch.setattr("efq.runtime.backends.open.is_installed", lambda backend: backend != "openvino")
    directory = make_artifact(tmp_path / "artifact", manifest=make_manifest(target="openvino"))
    with raises_naming(MissingDependencyError, "OpenVINO", "pip install 'efq[openvino]'"):
        Embedder.open(directory)


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"backend": "tflite"}, (AUTOMATIC, *BACKENDS, "tflite")),
        ({"tolerance": -0.1}, ("tolerance", 0, 2, -0.1)),
        ({"tolerance": 3.0}, ("tolerance", 0, 2, 3.0)),
    ],
)
def test_wrong_options_are_refused(tiny_artifact: Path, options: dict[str, object], facts: tuple[object, ...]) -> None:
    with raises_naming(UsageError, *facts):
        Embedder.open(tiny_artifact, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("threads", "count"), [(1, 20), (2, 2), (2, 64), (4, 9), (3, 1)])
def test_parts_are_small_in_order_and_at_most_one_a_thread(threads: int, count: int) -> None:
    sizes, running, most, lock = [], 0, 0, threading.Lock()

    def run_part(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            sizes.append(len(images))
        time.sleep(0.02)
        with lock:
            running -= 1
        return images[:, 0, 0, :1].astype(np.float32)

    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    found = Workers(threads, part_size=LARGE_PART).run(images, run_part)
    np.testing.assert_array_equal(found[:, 0], np.arange(count))
    assert sum(sizes) == count
    assert max(sizes) <= min(LARGE_PART, -(-count // threads))
    assert most <= threads
    assert most > 1 or threads == 1 or count == 1


def test_a_large_model_has_larger_parts() -> None:
    assert (part_size(1), part_size(40 * 2**20)) == (SMALL_PART, LARGE_PART)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not bind threads")
def test_threads_of_parts_are_bound_and_the_caller_is_not() -> None:
    mine = os.sched_getaffinity(0)
    found: list[set[int]] = []
    barrier = threading.Barrier(2)

    def run_part(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        barrier.wait(10)
        found.append(os.sched_getaffinity(0))
        return np.zeros((len(images), 1), np.float32)

    cpu = min(mine)
    Workers(2, part_size=1, cpus=(cpu,)).run(np.zeros((2, 1, 1, 3), np.uint8), run_part)
    assert sorted(found, key=len) == sorted([{cpu}, mine], key=len)
    assert os.sched_getaffinity(0) == mine


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads Linux's list of threads")
def test_threads_of_onnxruntime_are_bound_when_there_are_as_many_as_cpus(tiny_artifact: Path) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU")
    before = _thread_ids()
    embedder = Embedder.open(tiny_artifact, threads=len(cpus), backend="onnxruntime")
    assert embedder.embed(random_faces(1)).shape == (1, EMBEDDING_SIZE)
    bound: list[int] = []
    deadline = time.monotonic() + 20
    while bound != cpus[1:] and time.monotonic() < deadline:  # a thread binds itself when it first runs
        masks = [os.sched_getaffinity(thread) for thread in _thread_ids() - before]
        bound = sorted(min(mask) for mask in masks if mask != set(cpus))
    assert bound == cpus[1:]


def _thread_ids() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/task").iterdir()}


@pytest.mark.parametrize(
    ("version", "old"),
    [("1.24.1", True), ("1.29.0", True), ("1.30.0", False), ("1.32.0.dev20260901", False), ("2.0.0", False)],
)
def test_an_onnxruntime_too_old_to_be_safe(version: str, old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own abort would end the process: an error comes before any session."""
    monkeypatch.setattr(onnxruntime, "__version__", version)
    if not old:
        assert import_onnxruntime() is onnxruntime
        return
    with raises_naming(MissingDependencyError, "1.30", version, "pip install --upgrade onnxruntime") as caught:
        import_onnxruntime()
    assert caught.value.exit_code == 4


def test_the_least_onnxruntime_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert f"onnxruntime>={'.'.join(map(str, LEAST_VERSION))}" in project["dependencies"]
