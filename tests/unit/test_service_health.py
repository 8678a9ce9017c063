"""What a service says of itself: whether it is ready, how busy it is, and what its log holds."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifacts import make_artifact, make_manifest
from services import App, app_of, image

from efq.runtime.embedder import Embedder
from efq.runtime.errors import ProbeError
from efq.runtime.service.process.logs import JsonLog, LogHandler


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifact") / "artifact")


@pytest.fixture
def app(artifact: Path) -> Iterator[App]:
    with app_of(artifact, thresholds=((1e-3, 0.4),), fmr=1e-3) as made:
        yield made


def checks(app: App) -> dict[str, bool]:
    answer = app("GET", "/v2/health/ready")
    found = answer.json()
    assert found["ready"] is all(found["checks"].values())
    assert answer.status_code == (200 if found["ready"] else 503)
    return dict(found["checks"])


def test_ready_when_everything_holds(app: App) -> None:
    assert app("GET", "/v2/health/live").json() == {"live": True}
    found = checks(app)
    assert set(found) == {"artifact", "coverage", "probe", "gallery", "accepting"}
    assert all(found.values())


def test_not_ready_while_draining(app: App) -> None:
    app.engine.draining = True
    assert checks(app)["accepting"] is False
    assert app("GET", "/v2/health/live").status_code == 200
    assert app("POST", "/v1/embeddings", json={"images": [image(0)]}).status_code == 200


def test_not_ready_without_its_gallery(app: App) -> None:
    app.store.fail = True
    assert checks(app)["gallery"] is False
    metrics = app("GET", "/metrics")
    assert metrics.status_code == 200
    assert "efq_gallery_up 0.0" in metrics.text


def test_not_ready_where_the_probe_differs(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Embedder) -> None:
        message = "another embedding"
        raise ProbeError(message)

    monkeypatch.setattr(Embedder, "check_probe", fail)
    with app_of(artifact) as app:
        assert checks(app)["probe"] is False


def test_not_ready_where_nothing_was_audited(tmp_path: Path) -> None:
    manifest = dataclasses.replace(make_manifest(), coverage={})
    with app_of(make_artifact(tmp_path / "artifact", manifest=manifest)) as app:
        assert checks(app)["coverage"] is False


def test_metrics(app: App) -> None:
    app("POST", "/v1/people", json={"person": "Ann Secret", "images": [image(0), image(1)]})
    app("GET", "/v1/people/Ann%20Secret")
    app("GET", "/a/path/of/nobody")
    app("POST", "/v1/verify", content=bytes(20_000_000), headers={"Content-Type": "application/json"})
    text = app("GET", "/metrics").text
    for line in (
        'efq_request_seconds_count{method="POST",route="/v1/people",status="201"} 1.0',
        'efq_request_seconds_count{method="GET",route="/v1/people/{person:path}",status="200"} 1.0',
        'efq_request_seconds_count{method="GET",route="none",status="404"} 1.0',
        'efq_rejected_requests_total{reason="body_too_large"} 1.0',
        'efq_threshold{fmr="0.001"} 0.4',
        "efq_default_threshold 0.4",
        'efq_enrolled{what="people"} 1.0',
        'efq_enrolled{what="faces"} 2.0',
        "efq_queue_faces 0.0",
        "efq_gallery_up 1.0",
        "efq_requests_in_progress 1.0",
    ):
        assert line in text.splitlines(), line
    assert "efq_build_info{" in text
    assert "process_resident_memory_bytes" in text
    assert "Secret" not in text
    assert "nobody" not in text


def test_batches_are_counted(artifact: Path) -> None:
    from efq.runtime.service.app import create_app
    from efq.runtime.service.settings import ServiceSettings

    settings = ServiceSettings(directory=artifact, threads=1)
    made = create_app(settings)
    app = App.__new__(App)
    app.engine, app.log, app.app = made.state.engine, [], made
    try:
        app("POST", "/v1/embeddings", json={"images": [image(0), image(1)]})
        text = app("GET", "/metrics").text
    finally:
        made.state.engine.close()
    assert "efq_batch_faces_sum 2.0" in text
    assert "efq_batch_compute_seconds_count" in text


def test_the_log_holds_templates(app: App) -> None:
    app("DELETE", "/v1/people/Ann%20Secret", params={"face": "secret-face"}, headers={"X-Request-ID": "r-1"})
    (line,) = app.log
    assert line.pop("seconds") > 0
    assert line == {"method": "DELETE", "route": "/v1/people/{person:path}", "status": 404, "request_id": "r-1"}


def test_lines_of_json() -> None:
    lines: list[str] = []
    log = JsonLog(lines.append)
    log.request(method="GET", route="/v1/model", status=200, seconds=0.0123, request_id="r")
    record = logging.LogRecord("efq", logging.ERROR, "", 0, "went %s", ("wrong",), (ValueError, ValueError("x"), None))
    LogHandler(log).emit(record)
    log.close()
    request, other = map(json.loads, lines)
    assert request["event"] == "request"
    assert request["ms"] == 12.3
    assert (other["level"], other["message"], other["error"]) == ("error", "went wrong", "ValueError")


def test_a_reader_that_is_slow_holds_up_nothing() -> None:
    opened, lines = threading.Event(), []

    def write(line: str) -> None:
        assert opened.wait(10)
        lines.append(line)

    log = JsonLog(write)
    for number in range(11_000):
        log.line("event", number=number)
    opened.set()
    log.close()
    assert 10_000 <= len(lines) < 11_000
