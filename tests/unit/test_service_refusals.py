"""What a service answers to requests that are not as they should be: an envelope, and nothing of the inside."""

from __future__ import annotations

import base64
import json
import logging
import re
import struct
import urllib.parse
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from artifacts import make_artifact
from services import App, app_of, face_png, image

from efq.runtime.embedder import Embedder
from efq.runtime.errors import DeviceError, IncompatibleArtifactError
from efq.runtime.service.settings import Limits

JSON = {"Content-Type": "application/json"}
KEY = "a key of the API".replace(" ", "-")
UNSEEN = (" ", "\u3000 ", "a\u2028b", "nnA\u202e", "\u2066a")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifact") / "artifact")


@pytest.fixture(scope="module")
def shared(artifact: Path) -> Iterator[App]:
    limits = Limits(body_bytes=200_000, images=4, structure=500, pixels=1_000_000)
    with app_of(artifact, limits=limits, hosts=("localhost",)) as made:
        yield made


@pytest.fixture
def app(shared: App) -> App:
    shared.store.clear()
    return shared


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """Assert that it is the envelope with that code; its message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["code"] == code
    assert answer.headers["x-request-id"] == error["request_id"]
    return str(error["message"])


def encoded(data: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(data).decode()}


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises that many pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    parts = [head, data, b"IEND"]
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"\xff\xfe{\x00}\x00", 400, "invalid_json"),
        (b"\xef\xbb\xbf{}", 400, "invalid_json"),
        (b'{"images": [], "images": []}', 400, "invalid_json"),
        (b'{"images": NaN}', 400, "invalid_json"),
        (b'{"images": -Infinity}', 400, "invalid_json"),
        (b'{"images": ' + b"9" * 5_000 + b"}", 400, "invalid_json"),
        (b"[" * 501, 413, "json_too_large"),
        (b"[" * 500, 400, "invalid_json"),
        (b"null", 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b'{"images": []}', 422, "invalid_request"),
        (b'{"images": [{"data": 1}]}', 422, "invalid_request"),
        (b'{"images": [{"data": "YQ==", "more": 1}]}', 422, "invalid_request"),
        (b'{"images": [{"data": ""}]}', 422, "invalid_request"),
        (b'{"images": [{"data": "YQ"}]}', 422, "invalid_base64"),
        (b'{"images": [{"data": "YQ==\\n"}]}', 422, "invalid_base64"),
        (b'{"images": [{"data": "data:image/png;base64,YQ=="}]}', 422, "invalid_base64"),
        (b'{"images": [{"data": "\\ud800"}]}', 422, "invalid_request"),
        (b'{"images": [{"data": "YQ=="}], "crops": 1}', 422, "invalid_request"),
        (b'{"images": [{"data": "YQ=="}], "input": "face"}', 422, "invalid_request"),
    ],
)
def test_bodies_that_are_no_request(app: App, body: bytes, status: int, code: str) -> None:
    refused(app("POST", "/v1/embeddings", content=body, headers=JSON), status, code)


@pytest.mark.parametrize(
    "landmarks",
    [[[1, 2]] * 4, [[1, 2, 3]] * 5, [[1e999, 2]] * 5, [[True, 2]] * 5, [["1", 2]] * 5, [[10**400, 2]] * 5, [], "x"],
)
def test_landmarks_that_are_none(app: App, landmarks: Any) -> None:
    text = json.dumps({"images": [image(0) | {"landmarks": landmarks}]}).replace("Infinity", "1e999")
    refused(app("POST", "/v1/embeddings", content=text.encode(), headers=JSON), 422, "invalid_request")


@pytest.mark.parametrize(
    "landmarks", [[[1, 1]] * 5, [[1e300, 2]] * 5, [[-50, -50], [-20, -50], [-35, -35], [-48, -20], [-22, -20]]]
)
def test_landmarks_of_no_face(app: App, landmarks: Any) -> None:
    sent = {"images": [image(0) | {"landmarks": landmarks}]}
    refused(app("POST", "/v1/embeddings", json=sent), 422, "bad_landmarks")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"hello", "unreadable_image"),
        (b"\x89PNG\r\n\x1a\n", "unreadable_image"),
        (face_png(0)[:-200], "unreadable_image"),
        (bomb(60_000, 60_000), "unreadable_image"),
        (bomb(1_001, 1_000), "unreadable_image"),
        (face_png(0, side=64), "not_a_crop"),
    ],
)
def test_images_that_are_none(app: App, data: bytes, code: str) -> None:
    refused(app("POST", "/v1/embeddings", json={"images": [encoded(data)]}), 422, code)
    refused(app("POST", "/v1/embeddings", content=data, headers={"Content-Type": "image/png"}), 422, code)


def test_a_picture_of_nothing(app: App) -> None:
    import cv2
    import numpy as np

    black = cv2.imencode(".png", np.zeros((112, 112, 3), np.uint8))[1].tobytes()
    refused(app("POST", "/v1/embeddings", json={"images": [image(0), encoded(black)]}), 422, "invalid_input")


def test_too_much(app: App) -> None:
    refused(app("POST", "/v1/embeddings", json={"images": [image(0)] * 5}), 413, "too_many_images")
    refused(app("POST", "/v1/embeddings", content=bytes(200_001), headers=JSON), 413, "body_too_large")
    refused(app("GET", "/v1/people?after=" + "x" * 20_000), 414, "address_too_long")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=UTF-8", 422),
        ("Application/JSON", 422),
    ],
)
def test_content_types(app: App, content_type: str | None, status: int) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = app("POST", "/v1/verify", content=b'{"threshold": 0}', headers=headers)
    refused(answer, status, "unsupported_media_type" if status == 415 else "invalid_request")


def test_addresses_and_methods(app: App) -> None:
    refused(app("GET", "/v1/nothing"), 404, "not_found")
    refused(app("GET", "/docs"), 404, "not_found")
    refused(app("GET", "/v1/people/"), 422, "invalid_name")
    refused(app("GET", "/v1/people/../../etc/passwd"), 404, "not_found")
    for method in ("PUT", "PATCH", "OPTIONS", "BREW"):
        refused(app(method, "/v1/embeddings"), 405, "method_not_allowed")
    assert app("PUT", "/v1/embeddings").headers["allow"] == "POST"
    refused(app("GET", "/v1/people/%ff"), 400, "bad_address")
    refused(app("GET", "/v1/people?after=%ff"), 400, "bad_address")
    head = app("HEAD", "/v1/embeddings")
    assert head.status_code == 405


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=1e3", "limit=" + "9" * 500, "after=" + "x" * 2_000]
)
def test_queries(app: App, query: str) -> None:
    refused(app("GET", f"/v1/people?{query}"), 422, "invalid_request")


@pytest.mark.parametrize(
    "name",
    ["a\x00b", "Ada\x00", "a\nb", "\ud800", "\x85", "", "x" * 5_000, ".", "..", "a/../b", "/a", "a//b", "a/", *UNSEEN],
)
def test_names_that_are_none(app: App, name: str) -> None:
    answer = app(
        "POST", "/v1/people", content=json.dumps({"person": name, "images": [image(0)]}).encode(), headers=JSON
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] in ("invalid_name", "invalid_request")
    assert app.store.size().faces == 0


@pytest.mark.parametrize("name", UNSEEN)
def test_who_has_a_name_that_is_not_seen_can_be_erased(app: App, name: str) -> None:
    rows = np.eye(2, app.engine.model.embedding_size, dtype=np.float32)
    app.store.enroll(name, rows[:1])  # as from a gallery's file
    address = f"/v1/people/{urllib.parse.quote(name, safe='')}"
    assert app("GET", address).json()["person"] == name
    assert app("DELETE", address).json() == {"person": name, "faces": 1}


def test_names_in_addresses(app: App) -> None:
    refused(app("GET", "/v1/people/a%00b"), 422, "invalid_name")
    refused(app("DELETE", "/v1/people/a%0Ab"), 404, "not_found")
    refused(app("DELETE", "/v1/people/Bo?face=%07"), 422, "invalid_name")
    refused(app("GET", "/v1/people?after=%07"), 422, "invalid_name")
    refused(app("GET", "/v1/people/Bo"), 404, "person_not_found")


@pytest.mark.parametrize("faces", [["a"], ["a", "a"], ["a", "b", "c"], ["a", "b\n"]])
def test_face_names_that_do_not_fit(app: App, faces: list[str]) -> None:
    answer = app("POST", "/v1/people", json={"person": "Bo", "images": [image(0), image(1)], "faces": faces})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "changes",
    [
        {"images": None},
        {"images": [image(0)]},
        {"image": image(0)},
        {"person": "Bo"},
        {"images": None, "image": image(0)},
        {"threshold": 1.5},
        {"threshold": "0.3"},
        {"threshold": None},
        {"fmr": 0.0},
        {"fmr": 1},
        {"fmr": 1e-3},
        {"fmr": 1e-3, "threshold": None},
    ],
)
def test_verifications_that_cannot_be(app: App, changes: dict[str, Any]) -> None:
    sent = {"images": [image(0), image(1)], "threshold": 0.3} | changes
    assert app("POST", "/v1/verify", json=sent).status_code == 422


@pytest.mark.parametrize("k", [0, -1, 1_001, 1.5, "1", True, None])
def test_searches_that_cannot_be(app: App, k: Any) -> None:
    refused(app("POST", "/v1/search", json={"image": image(0), "k": k, "threshold": 0}), 422, "invalid_request")


def test_a_gallery_that_fails_recovers(app: App) -> None:
    app.store.fail = True
    for answer in (
        app("GET", "/v1/people"),
        app("POST", "/v1/people", json={"person": "Bo", "images": [image(0)]}),
        app("DELETE", "/v1/people/Bo"),
        app("POST", "/v1/search", json={"image": image(0), "threshold": 0}),
    ):
        refused(answer, 503, "gallery_unavailable")
        assert int(answer.headers["retry-after"]) > 0
    assert app("POST", "/v1/embeddings", json={"images": [image(0)]}).status_code == 200
    app.store.fail = False
    assert app("POST", "/v1/people", json={"person": "Bo", "images": [image(0)]}).status_code == 201


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (IncompatibleArtifactError("secret path"), 503, "model_failed"),
        (DeviceError("secret path"), 503, "device_unavailable"),
        (RuntimeError("secret path"), 500, "internal"),
    ],
)
def test_failures_tell_nothing_of_the_inside(
    artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def fail(self: Embedder, images: object) -> None:
        raise error

    monkeypatch.setattr(Embedder, "embed", fail)
    with app_of(artifact) as app, caplog.at_level(logging.ERROR):
        answer = app("POST", "/v1/embeddings", json={"images": [image(0)]}, headers={"X-Request-ID": "seen-1"})
    refused(answer, status, code)
    assert "secret" not in answer.text
    assert "secret" not in caplog.text
    if status == 500:
        assert "seen-1" in caplog.text


def test_a_full_queue_and_a_deadline(artifact: Path) -> None:
    with app_of(artifact, limits=Limits(queue=2)) as app:
        refused(app("POST", "/v1/embeddings", json={"images": [image(0)] * 3}), 413, "too_many_images")
    with app_of(artifact, limits=Limits(deadline=0.0)) as app:
        refused(app("POST", "/v1/embeddings", json={"images": [image(0)]}), 504, "deadline_exceeded")


def test_request_ids(app: App) -> None:
    assert app("GET", "/v1/model", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for given in ("", "a b", "x" * 65, "é"):
        found = app("GET", "/v1/model", headers={"X-Request-ID": given.encode()}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", found)


def test_headers_of_every_answer(app: App) -> None:
    for answer in (app("GET", "/v1/model"), app("GET", "/nothing"), app("POST", "/v1/verify", content=b"x")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


def test_other_names_and_origins_are_refused(app: App) -> None:
    refused(app("GET", "/v1/model", headers={"Host": "evil.example"}), 421, "unknown_host")
    refused(app("GET", "/v2/health/live", headers={"Host": ""}), 421, "unknown_host")
    assert app("GET", "/v1/model", headers={"Host": "LOCALHOST:8000"}).status_code == 200
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "["},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        refused(app("DELETE", "/v1/people/Bo", headers=headers), 403, "foreign_origin")
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    refused(app("DELETE", "/v1/people/Bo", headers=own), 404, "person_not_found")


@pytest.fixture(scope="module")
def locked(artifact: Path) -> Iterator[App]:
    with app_of(artifact, api_keys=("another-key-of-it", KEY)) as made:
        yield made


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": "Bearer"},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": ""},
        {"X-API-Key": KEY.upper()},
        {"X-API-Key": "é".encode("latin-1")},
    ],
)
def test_without_a_key(locked: App, headers: dict[str, Any]) -> None:
    for method, path in (
        ("GET", "/v1/model"),
        ("POST", "/v1/embeddings"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
    ):
        answer = locked(method, path, headers=headers)
        refused(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_with_a_key(locked: App) -> None:
    for headers in (
        {"Authorization": f"Bearer {KEY}"},
        {"X-API-Key": KEY},
        {"authorization": "bearer another-key-of-it"},
    ):
        assert locked("GET", "/v1/model", headers={**headers, "Host": "faces.example"}).status_code == 200
    assert locked("GET", "/v2/health/live").status_code == 200
    assert locked("GET", "/v2/health/ready").status_code == 200
    refused(locked("POST", "/v2/health/live"), 401, "unauthorized")


def test_what_needs_no_key_is_answered_to_head_as_to_get(locked: App) -> None:
    for path in ("/", "/page/main.js", "/v2/health/live", "/v2/health/ready"):
        assert locked("HEAD", path).status_code == locked("GET", path).status_code == 200
    assert locked("HEAD", "/v1/model").status_code == 401
