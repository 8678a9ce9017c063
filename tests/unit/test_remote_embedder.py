"""RemoteEmbedder against a server of the published protocol: the artifact's embeddings, or an error in words."""

from __future__ import annotations

import os
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from artifacts import make_artifact, make_manifest, make_model, random_faces, reference_embeddings
from inference_server import Model, serving
from messages import names, raises_naming

from efq.export.artifact.probe_face import probe_face
from efq.export.surface import with_interface
from efq.runtime import (
    Artifact,
    ChecksumError,
    EfqError,
    Embedder,
    IncompatibleArtifactError,
    InputContract,
    InputError,
    Interface,
    Probe,
    ProbeError,
    RemoteEmbedder,
    ServerError,
    UsageError,
)
from efq.runtime.artifact.folder import MODEL_FILE, write_checksums

INTERFACES = ("uint8-nhwc", "uint8-nchw,batch=3", "float-nchw", "float-nchw,bgr,raw,batch=1")


def artifact_of(directory: Path, interface: str = "uint8-nhwc", *, probe: bool = True) -> Path:
    """A tiny artifact with that interface, and a probe of what it computes."""
    surface = Interface.parse(interface)
    group = {"least_cosine": 0.999} if probe else None
    manifest = make_manifest(interface=None if surface.is_usual else surface.to_dict(), probe=group)
    make_artifact(directory, manifest=manifest, model=with_interface(make_model(manifest), surface, InputContract()))
    if probe:
        image = probe_face(112, 112)
        row = reference_embeddings(image[None])[0].astype(np.float32)
        for name, content in Probe(image=image, embedding=row, least_cosine=0.999).files().items():
            (directory / name).write_bytes(content)
        write_checksums(directory)
    return directory


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artifact_of(tmp_path_factory.mktemp("remote") / "artifact")


@pytest.fixture
def model(artifact: Path) -> Model:
    return Model(artifact / MODEL_FILE)


@pytest.fixture
def url(model: Model) -> Iterator[str]:
    with serving(model) as address:
        yield address


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("interface", INTERFACES)
def test_the_embeddings_are_the_artifacts(interface: str, binary: bool, tmp_path: Path) -> None:
    folder = artifact_of(tmp_path / "artifact", interface)
    faces = random_faces(5)
    with (
        Embedder.open(folder, threads=1) as local,
        serving(Model(folder / MODEL_FILE)) as url,
        RemoteEmbedder.open(url, "faces", artifact=folder, binary=binary) as remote,
    ):
        found = remote.embed(faces)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, local.embed(faces), atol=1e-6)
        assert remote.contract == local.contract
        assert remote.embedding_size == local.embedding_size
        assert remote.artifact is not None
        assert remote.artifact.directory == folder
        assert remote.model.sha256 == local.artifact.checksums[MODEL_FILE]
        assert remote.check_probe() == pytest.approx(1, abs=1e-5)


def test_large_batches_are_split(url: str, model: Model, artifact: Path) -> None:
    faces = random_faces(130)
    with RemoteEmbedder.open(url, "faces", artifact=artifact) as remote:
        before = len(model.asked)
        np.testing.assert_allclose(remote.embed(faces), reference_embeddings(faces), atol=1e-5)
        assert len(model.asked) == before + 3
        assert model.connections == 1


def test_a_version_is_asked_for(url: str, model: Model, artifact: Path) -> None:
    with RemoteEmbedder.open(url + "/", "faces", version="1", artifact=Artifact.open(artifact)):
        assert model.asked[-1] == "/v2/models/faces/versions/1/infer"


def test_threads_share_it(url: str, model: Model, artifact: Path) -> None:
    faces = random_faces(8)
    with RemoteEmbedder.open(url, "faces", artifact=artifact) as remote, ThreadPoolExecutor(8) as pool:
        alone = [remote.embed(face[None]) for face in faces]
        together = list(pool.map(lambda number: remote.embed(faces[number % 8][None]), range(64)))
        for number, found in enumerate(together):
            assert found.tobytes() == alone[number % 8].tobytes()
    assert model.connections <= 9


@pytest.mark.parametrize("fault", ["drop", "half", "429", "503"])
def test_what_fails_once_is_asked_again(fault: str, url: str, model: Model, artifact: Path) -> None:
    faces = random_faces(2)
    with RemoteEmbedder.open(url, "faces", artifact=artifact) as remote:
        model.faults = [fault, fault]
        np.testing.assert_allclose(remote.embed(faces), reference_embeddings(faces), atol=1e-5)
        assert not model.faults


@pytest.mark.parametrize(
    ("fault", "facts"),
    [("503", ("503", 3)), ("drop", (3,)), ("400", ("400", "busy")), ("garbage", ()), ("endless", ())],
)
def test_what_fails_always_is_said(
    fault: str, facts: tuple[object, ...], url: str, model: Model, artifact: Path
) -> None:
    with RemoteEmbedder.open(url, "faces", artifact=artifact, tries=3) as remote:
        model.faults = [fault] * 9
        with raises_naming(ServerError, url, *facts):
            remote.embed(random_faces(1))
        model.faults = []
        assert remote.embed(random_faces(1)).shape == (1, 16)


def test_an_answer_that_drips_ends_in_time(url: str, model: Model, artifact: Path) -> None:
    with RemoteEmbedder.open(url, "faces", artifact=artifact, timeout=0.5) as remote:
        model.faults = ["drip"]
        start = time.monotonic()
        with raises_naming(ServerError, "0.5 s"):
            remote.embed(random_faces(1))
        assert time.monotonic() - start < 2


def test_a_server_that_is_restarted_is_found_again(model: Model, artifact: Path) -> None:
    with serving(model) as url:
        remote = RemoteEmbedder.open(url, "faces", artifact=artifact, tries=1)
        expected = remote.embed(random_faces(1))
    with remote:
        with pytest.raises(ServerError):
            remote.embed(random_faces(1))
        with serving(model, port=int(url.rpartition(":")[2])):
            assert remote.embed(random_faces(1)).tobytes() == expected.tobytes()


def test_nobody_listens(artifact: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with raises_naming(ServerError, url, "2 tries"):
            RemoteEmbedder.open(url, "faces", artifact=artifact, tries=2)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda rows: rows[:, ::-1], ProbeError),
        (lambda rows: 2 * rows, ServerError),
        (lambda rows: rows[:, :8], ServerError),
        (lambda rows: rows * np.nan, ServerError),
    ],
)
def test_other_embeddings_are_refused(
    change: Any, kind: type[EfqError], model: Model, url: str, artifact: Path
) -> None:
    model.change = change
    with raises_naming(kind, url):
        RemoteEmbedder.open(url, "faces", artifact=artifact)


def test_one_row_for_all_images_is_refused(model: Model, url: str, tmp_path: Path) -> None:
    folder = artifact_of(tmp_path / "artifact", probe=False)
    model.change = lambda rows: rows[:1].repeat(len(rows), 0)
    with raises_naming(ServerError, 0, 1):
        RemoteEmbedder.open(url, "faces", artifact=folder)


def test_wrong_colors_are_found_by_the_probe(tmp_path: Path, artifact: Path) -> None:
    other = artifact_of(tmp_path / "artifact", "uint8-nhwc,bgr")
    with serving(Model(other / MODEL_FILE)) as url:
        with pytest.raises(ProbeError):
            RemoteEmbedder.open(url, "faces", artifact=artifact)
        with RemoteEmbedder.open(url, "faces", artifact=artifact, interface="uint8-nhwc,bgr") as remote:
            np.testing.assert_allclose(remote.embed(random_faces(1)), reference_embeddings(random_faces(1)), atol=1e-5)


@pytest.mark.parametrize(
    ("told", "facts"),
    [
        ({"inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 112, 112, 3]}]}, ("images", "FP32")),
        ({"inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 3, 112, 112]}]}, ("images", "UINT8")),
        ({"outputs": [{"name": "a", "datatype": "FP32", "shape": [-1, 8]}]}, ("a", 8)),
        ({"outputs": [{"name": n, "datatype": "FP32", "shape": [-1, 16]} for n in "ab"]}, ("embeddings", 2)),
        ({"inputs": []}, ("inputs",)),
        ({"inputs": {}}, ("inputs",)),
        ({"outputs": [{"name": "a", "datatype": "FP32", "shape": [10**30]}]}, ("a",)),
        ({"outputs": [{"name": "a", "datatype": "FP99", "shape": [-1, 16]}]}, ("FP99",)),
        ({"name": None}, ("name",)),
    ],
)
def test_metadata_that_do_not_fit_are_refused(
    told: dict[str, Any], facts: tuple[object, ...], model: Model, url: str, artifact: Path
) -> None:
    model.told = told
    with raises_naming(ServerError, url, *facts):
        RemoteEmbedder.open(url, "faces", artifact=artifact)


def test_sizes_as_text_are_read(model: Model, url: str, artifact: Path) -> None:
    model.told = {"inputs": [{"name": "images", "datatype": "UINT8", "shape": ["-1", "112", "112", "3"]}]}
    with RemoteEmbedder.open(url, "faces", artifact=artifact) as remote:
        assert remote.embed(random_faces(1)).shape == (1, 16)


def test_what_is_not_said_is_asked_for(url: str) -> None:
    with raises_naming(UsageError, "artifact"):
        RemoteEmbedder.open(url, "faces")
    with raises_naming(UsageError, "model"):
        RemoteEmbedder.open(url)
    with raises_naming(ServerError, "404", "other", "no such model here"):
        RemoteEmbedder.open(url, "other")


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:80", "ftp://host", "http://", "http://u:p@host", "http://h:99999", "http://h/?q", "http://h\n"],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        RemoteEmbedder.open(address)
    names(caught.value, "http://HOST:PORT")


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"tries": 0}, {"api_key": "a\nb"}, {"api_key": ""}, {"interface": "?"}]
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        RemoteEmbedder.open("http://127.0.0.1:9", **options)
    assert "a\nb" not in str(caught.value)


def test_a_key_is_sent_and_not_shown(model: Model, url: str, artifact: Path) -> None:
    model.api_key = "secret-key"
    with raises_naming(ServerError, "401", "api_key", "a key is needed"):
        RemoteEmbedder.open(url, "faces", artifact=artifact)
    with RemoteEmbedder.open(url, "faces", artifact=artifact, api_key="secret-key") as remote:
        assert "secret" not in repr(remote)
        assert "secret" not in repr(remote.__dict__["_options"])


def test_another_version_is_not_mixed(model: Model, url: str, artifact: Path) -> None:
    with RemoteEmbedder.open(url, "faces", artifact=artifact) as remote:
        model.version = "2"
        with raises_naming(IncompatibleArtifactError, "version 2"):
            remote.embed(random_faces(1))


def test_images_are_checked_here(url: str, model: Model, artifact: Path) -> None:
    with RemoteEmbedder.open(url, "faces", artifact=artifact) as remote:
        before = len(model.asked)
        for images in (random_faces(1)[0], random_faces(1).astype(np.float32), np.zeros((1, 112, 112, 3), np.uint8)):
            with pytest.raises(InputError):
                remote.embed(images)  # type: ignore[arg-type]
        assert len(model.asked) == before


def test_once_closed(url: str, artifact: Path) -> None:
    remote = RemoteEmbedder.open(url, "faces", artifact=artifact)
    remote.close()
    remote.close()
    with pytest.raises(UsageError):
        remote.embed(random_faces(1))


def test_closing_leaves_calls_to_end(url: str, artifact: Path) -> None:
    remote = RemoteEmbedder.open(url, "faces", artifact=artifact)
    outcomes: list[object] = []

    def call() -> None:
        try:
            for _ in range(50):
                outcomes.append(remote.embed(random_faces(1)).shape)
        except UsageError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    remote.close()
    for thread in threads:
        thread.join(30)
    assert all(outcome == (1, 16) or isinstance(outcome, UsageError) for outcome in outcomes)


def test_it_is_sent_to_other_processes(model: Model, url: str, artifact: Path, tmp_path: Path) -> None:
    faces = random_faces(2)
    with RemoteEmbedder.open(url, "faces", artifact=artifact) as remote:
        sent = pickle.dumps(remote)
        with pickle.loads(sent) as received:
            assert received.embed(faces).tobytes() == remote.embed(faces).tobytes()
            assert received.model == remote.model


def test_another_model_by_then_is_refused(model: Model, url: str, tmp_path: Path) -> None:
    folder = artifact_of(tmp_path / "artifact", probe=False)
    with RemoteEmbedder.open(url, "faces", artifact=folder) as remote:
        sent = pickle.dumps(remote)
    other = make_model(make_manifest())
    other.doc_string = "another"
    onnx.save(other, folder / MODEL_FILE)
    write_checksums(folder)
    with pytest.raises(ChecksumError):
        pickle.loads(sent)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_child_of_a_fork_opens_its_own_connections(url: str, model: Model, artifact: Path) -> None:
    faces = random_faces(2)
    with RemoteEmbedder.open(url, "faces", artifact=artifact) as remote:
        expected = remote.embed(faces)
        before = model.connections
        child = os.fork()
        if child == 0:
            os._exit(0 if remote.embed(faces).tobytes() == expected.tobytes() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert model.connections == before + 1
        assert remote.embed(faces).tobytes() == expected.tobytes()
        assert model.connections == before + 1
