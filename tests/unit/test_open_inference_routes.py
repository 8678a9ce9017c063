"""The routes of /v2: what they answer by the protocol, and RemoteEmbedder on the other side of them."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from artifacts import make_artifact, make_manifest, make_model, random_faces
from messages import raises_naming
from numpy.typing import NDArray

from efq.runtime import Embedder, IncompatibleArtifactError, RemoteEmbedder, ServerError
from efq.runtime.errors import DeviceError
from efq.runtime.open_inference.messages import HEADER_LENGTH, Message, read_response, write_request
from efq.runtime.open_inference.metadata import ServedModel

fastapi = pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")
routes = pytest.importorskip("efq.runtime.open_inference.routes")


class BusyError(Exception): ...


@dataclasses.dataclass
class Service:
    """A small service around an embedder. error: what the next request fails with."""

    embedder: Embedder
    port: int = 0
    error: Exception | None = None
    ready: bool = True
    loaded: bool = True

    async def embed(self, images: NDArray[np.uint8], request: object) -> NDArray[np.float32]:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self.embedder.embed(images)

    def inference(self) -> object:
        if not self.loaded:
            return None
        return routes.ServedInference(
            name="tiny",
            served=ServedModel.of_artifact(self.embedder.artifact),
            embed=self.embed,
            is_ready=lambda: self.ready,
            failure=lambda error: (
                routes.Failure(status=429, text="busy", headers={"Retry-After": "0"})
                if isinstance(error, BusyError)
                else None
            ),
            most_images=8,
        )

    def ask(self, method: str, path: str, message: Message | bytes | None = None) -> tuple[int, bytes, str | None]:
        body, headers = (message.body, dict(message.headers)) if isinstance(message, Message) else (message, {})
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers.get(HEADER_LENGTH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("routes") / "tiny")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Service]:
    with Embedder.open(folder, threads=1) as embedder:
        service = Service(embedder)
        app = fastapi.FastAPI()
        app.include_router(routes.inference_router(service.inference))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        service.port = server.servers[0].sockets[0].getsockname()[1]
        yield service
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    yield running
    running.error, running.ready, running.loaded = None, True, True


@pytest.fixture
def url(service: Service) -> str:
    return f"http://127.0.0.1:{service.port}"


@pytest.mark.parametrize("binary", [True, False])
def test_everything_is_learned_from_the_service(service: Service, url: str, binary: bool) -> None:
    faces = random_faces(5)
    with RemoteEmbedder.open(url, binary=binary) as remote:
        assert remote.embed(faces).tobytes() == service.embedder.embed(faces).tobytes()
        assert remote.contract == service.embedder.contract
        assert remote.model == ServedModel.of_artifact(service.embedder.artifact).model
        assert remote.check_probe() is None


def test_the_same_artifact_may_be_given(url: str, folder: Path, tmp_path: Path) -> None:
    with RemoteEmbedder.open(url, artifact=folder) as remote:
        assert remote.artifact is not None
    changed = make_model(make_manifest())
    changed.doc_string = "another"
    other = make_artifact(tmp_path / "other", model=changed)
    with raises_naming(IncompatibleArtifactError, other, url):
        RemoteEmbedder.open(url, artifact=other)


def test_another_model_is_noticed(service: Service, url: str) -> None:
    with RemoteEmbedder.open(url) as remote:
        artifact = service.embedder.artifact
        service.embedder._artifact = dataclasses.replace(
            artifact, checksums=artifact.checksums | {"model.onnx": "1" * 64}
        )
        try:
            with pytest.raises(IncompatibleArtifactError):
                remote.embed(random_faces(1))
        finally:
            service.embedder._artifact = artifact


def test_a_busy_service_is_asked_again(service: Service, url: str) -> None:
    with RemoteEmbedder.open(url) as remote:
        service.error = BusyError()
        assert remote.embed(random_faces(1)).shape == (1, 16)
        assert service.error is None


def test_a_model_that_fails_is_said_without_its_words(service: Service, url: str) -> None:
    with RemoteEmbedder.open(url) as remote:
        service.error = DeviceError("secret")
        with raises_naming(ServerError, "500") as caught:
            remote.embed(random_faces(1))
        assert "secret" not in str(caught.value)


def test_metadata(service: Service) -> None:
    status, body, _ = service.ask("GET", "/v2")
    found = json.loads(body)
    assert (status, found["name"], found["models"]) == (200, "efq", ["tiny"])
    assert "binary_tensor_data" in found["extensions"]
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/1"):
        status, body, _ = service.ask("GET", path)
        found = json.loads(body)
        assert found["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 112, 112, 3]}]
        assert found["outputs"] == [{"name": "embeddings", "datatype": "FP32", "shape": [-1, 16]}]
        assert service.ask("GET", f"{path}/ready")[0] == 200


def test_readiness(service: Service) -> None:
    service.ready = False
    assert service.ask("GET", "/v2/models/tiny/ready")[0] == 503
    service.loaded = False
    for method, path in (("GET", ""), ("GET", "/ready"), ("POST", "/infer")):
        status, body, _ = service.ask(method, f"/v2/models/tiny{path}", b"{}" if method == "POST" else None)
        assert (status, list(json.loads(body))) == (503, ["error"])
    assert json.loads(service.ask("GET", "/v2")[1])["models"] == []


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/tiny/versions/2", "/v2/models/tiny/versions/2/ready"])
def test_other_models(service: Service, path: str) -> None:
    status, body, _ = service.ask("GET", path)
    assert status == 404
    assert "tiny" in json.loads(body)["error"]


@pytest.mark.parametrize("binary", [True, False])
def test_requests_are_answered_as_asked(service: Service, binary: bool) -> None:
    faces = random_faces(2)
    message = write_request(faces, input_name="images", output_name="embeddings", binary=binary)
    status, body, length = service.ask("POST", "/v2/models/tiny/infer", message)
    assert status == 200
    assert (length is not None) == binary
    spec = ServedModel.of_artifact(service.embedder.artifact).output_spec(name="embeddings", images=2)
    assert read_response(body, length, spec=spec).embeddings.tobytes() == service.embedder.embed(faces).tobytes()


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{}", 400), (b"\xff", 400), (b"[" * 70_000, 400), (b" " * 20_000_000, 413)],
    ids=["empty", "none", "bytes", "nested", "large"],
)
def test_bodies_that_are_no_requests(service: Service, body: bytes, status: int) -> None:
    with contextlib.suppress(ConnectionError):
        found, answer, _ = service.ask("POST", "/v2/models/tiny/infer", body)
        assert found == status
        assert isinstance(json.loads(answer)["error"], str)


@pytest.mark.parametrize("images", [np.zeros((1, 112, 112, 3), np.uint8), random_faces(9), random_faces(1)[:, :8]])
def test_images_that_are_none(service: Service, images: NDArray[np.uint8]) -> None:
    message = write_request(images, input_name="images", output_name="embeddings", binary=True)
    status, body, _ = service.ask("POST", "/v2/models/tiny/infer", message)
    assert status in (400, 413)
    assert "expected" in json.loads(body)["error"]


def test_compressed_bodies_are_refused(service: Service) -> None:
    status, body, _ = service.ask(
        "POST", "/v2/models/tiny/infer", Message(body=b"x", headers={"Content-Encoding": "gzip"})
    )
    assert (status, list(json.loads(body))) == (415, ["error"])


def test_the_service_answers(folder: Path) -> None:
    services = pytest.importorskip("services")
    faces = random_faces(3)
    with services.serving(folder) as running, Embedder.open(folder, threads=1) as local:
        for binary in (True, False):
            with RemoteEmbedder.open(running.address, artifact=folder, binary=binary) as remote:
                np.testing.assert_allclose(remote.embed(faces), local.embed(faces), atol=1e-6)
                assert remote.contract == local.contract
