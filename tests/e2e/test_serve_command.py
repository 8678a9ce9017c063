"""efq-serve as a process of its own: what it answers, what it logs, how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from artifacts import make_artifact
from services import Service, face_png, image, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    artifact = make_artifact(tmp_path_factory.mktemp("service") / "artifact")
    with serving(artifact, "--threshold", "0.3") as started:
        yield started


def test_embeds_and_compares(service: Service) -> None:
    embedded = service.client.post("/v1/embeddings", json={"images": [image(0), image(1)]})
    assert embedded.status_code == 200
    assert len(embedded.json()["embeddings"]) == 2
    alone = service.client.post("/v1/embeddings", content=face_png(0), headers={"Content-Type": "image/png"})
    assert alone.json()["embeddings"] == embedded.json()["embeddings"][:1]
    same = service.client.post("/v1/verify", json={"images": [image(0), image(0)]}).json()
    assert same["accepted"]
    assert same["threshold"] == 0.3


def test_ends_with_a_signal(tmp_path: Path) -> None:
    with serving(make_artifact(tmp_path / "artifact")) as service:
        assert service.client.get("/v2/health/ready").json()["ready"] is True
        assert service.stop() == 0
    assert service.lines()[-1]["event"] == "ended"
