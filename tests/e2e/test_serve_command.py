"""efq-serve as a process of its own: what it answers, what it logs, how it ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from artifacts import make_artifact
from messages import names
from services import Service, face_png, image, serving

KEY = "a-key-of-the-service"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifact") / "artifact")


@pytest.fixture(scope="module")
def service(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    gallery = tmp_path_factory.mktemp("gallery") / "people.sqlite"
    with serving(artifact, "--gallery", str(gallery), "--threshold", "0.3") as started:
        yield started


def fails(*arguments: object) -> tuple[int, str]:
    """Exit code and message of a service that does not start."""
    command = [sys.executable, "-m", "efq.runtime.service.serve_command", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_embeds_and_compares(service: Service) -> None:
    embedded = service.client.post("/v1/embeddings", json={"images": [image(0), image(1)]})
    assert embedded.status_code == 200
    assert len(embedded.json()["embeddings"]) == 2
    alone = service.client.post("/v1/embeddings", content=face_png(0), headers={"Content-Type": "image/png"})
    assert alone.json()["embeddings"] == embedded.json()["embeddings"][:1]
    same = service.client.post("/v1/verify", json={"images": [image(0), image(0)]}).json()
    assert same["accepted"]
    assert same["threshold"] == 0.3


def test_enrolled_people_are_found_and_no_log_knows_them(service: Service) -> None:
    client = service.client
    name, face = "Zoë Secretson/3", "face-of-zoe"
    enrolled = client.post("/v1/people", json={"person": name, "images": [image(5)], "faces": [face]})
    assert enrolled.status_code == 201
    found = client.post("/v1/search", json={"image": image(5)}).json()["matches"]
    assert [(one["person"], one["face"]) for one in found[:1]] == [(name, face)]
    client.get(f"/v1/people/{name}", params={"after": name})
    client.get("/v1/people", params={"after": name})
    client.post("/v1/people", json={"person": name + "\n", "images": [image(5)]})
    client.post("/v1/people", content=f'{{"person": "{name}"'.encode(), headers={"Content-Type": "application/json"})
    assert client.delete(f"/v1/people/{name}").json()["faces"] == 1
    client.get("/v1/model", headers={"X-Request-ID": "the-last"})
    deadline = time.monotonic() + 10
    while "the-last" not in "".join(service.log) and time.monotonic() < deadline:
        time.sleep(0.01)
    text = "".join(service.log)
    requests = [line for line in service.lines() if line["event"] == "request"]
    assert len(requests) >= 8
    assert {"/v1/people", "/v1/people/{person:path}"} <= {line["route"] for line in requests}
    for word in ("Zo", "Secretson", face, "secretson", json.dumps(name)[1:-1], "image/png", "iVBOR", "after"):
        assert word not in text
    assert set(requests[0]) == {"time", "event", "method", "route", "status", "ms", "request_id"}


def test_people_are_there_after_a_restart(artifact: Path, tmp_path: Path) -> None:
    options = ("--gallery", str(tmp_path / "people.sqlite"), "--no-access-log")
    with serving(artifact, *options) as first:
        assert first.client.post("/v1/people", json={"person": "Bo", "images": [image(2)]}).status_code == 201
        first.process.kill()
    with serving(artifact, *options) as second:
        assert second.client.get("/v1/people").json()["people"][0]["person"] == "Bo"
        assert second.stop() == 0
    assert [line["event"] for line in second.lines()] == ["listening", "ended"]


def test_it_is_not_ready_and_serves_before_it_ends(artifact: Path) -> None:
    with serving(artifact, "--drain-delay", "3") as service:
        assert service.client.get("/v2/health/ready").status_code == 200
        service.process.terminate()
        deadline = time.monotonic() + 3
        while (ready := service.client.get("/v2/health/ready")).status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (ready.status_code, ready.json()["checks"]["accepting"]) == (503, False)
        assert service.client.post("/v1/embeddings", json={"images": [image(0)]}).status_code == 200
        assert service.process.wait(30) == 0


def test_keys_where_others_reach_it(artifact: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{KEY}\n\nanother-key-of-the-service\n")
    with serving(artifact, "--host", "0.0.0.0", "--api-key-file", str(keys)) as service:
        address = f"http://127.0.0.1:{service.port}/v1/model"
        assert httpx.get(address, trust_env=False).status_code == 401
        assert httpx.get(address, headers={"X-API-Key": KEY}, trust_env=False).status_code == 200
    with serving(artifact, environment={"EFQ_API_KEY": KEY}) as service:
        assert service.client.get("/v1/model").status_code == 401
        assert service.client.get("/v1/model", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


def test_what_does_not_start(artifact: Path, tmp_path: Path) -> None:
    code, message = fails(artifact, "--host", "0.0.0.0")
    assert code == 2
    names(message, "0.0.0.0", "--api-key-file", "EFQ_API_KEY")
    short = tmp_path / "keys.txt"
    short.write_text("short\n")
    code, message = fails(artifact, "--api-key-file", short)
    assert code == 2
    assert "short\n" not in message.replace(str(short), "")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, message = fails(artifact, "--port", port)
    assert code == 2
    names(message, port)
    code, message = fails(artifact, "--fmr", "1e-4")
    assert code == 2
    names(message, "0.0001")
    assert fails(artifact, "--fmr", "1e-4", "--threshold", "0.3")[0] == 2
    assert fails(artifact, "--template", "best")[0] == 2
    assert fails(tmp_path / "nothing")[0] == 5
