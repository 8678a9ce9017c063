"""The service's page in headless Chromium, on drawn faces."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from artifacts import make_artifact

if TYPE_CHECKING:  # packages that may be absent: a test's own file skips it then
    from browser import Browser
    from page_views import Drawn, Serve
    from services import MemoryStore

WITHIN = ("about:", "blob:", "chrome://", "data:")  # no host: the last page of the browser itself is among them


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    import cv2
    from page_views import NAMES, Drawn

    from efq.benchmarks.drawn_faces.dataset import identity_of
    from efq.benchmarks.drawn_faces.renderer import draw_face
    from efq.benchmarks.drawn_faces.view import random_view

    folder = tmp_path_factory.mktemp("faces")
    files, images = [], []
    for person in range(len(NAMES)):
        identity, generator = identity_of(person, seed=11)
        images.append([draw_face(identity, random_view(generator, 0.4)) for _ in range(2)])
        files.append([folder / f"{person}-{view}.png" for view in range(2)])
        for file, image in zip(files[-1], images[-1], strict=True):
            cv2.imwrite(str(file), image[..., ::-1])
    return Drawn(files=files, images=np.array(images))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from browser import browsing

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, browsing(Path(folder)) as opened:
        yield opened


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def embeddings(artifact: Path, faces: Drawn) -> np.ndarray:
    """Of each picture, float32 (people, 2, d)."""
    from efq.runtime import Embedder

    with Embedder.open(artifact, threads=1) as embedder:
        return embedder.embed(faces.images.reshape(-1, 112, 112, 3)).reshape(len(faces.images), 2, -1)


@pytest.fixture
def store(artifact: Path) -> MemoryStore:
    """Nobody yet."""
    from services import MemoryStore

    from efq.runtime import Artifact
    from efq.runtime.gallery.models import model_of

    return MemoryStore(model_of(Artifact.open(artifact)))


@pytest.fixture
def enrolled(store: MemoryStore, embeddings: np.ndarray) -> MemoryStore:
    from page_views import NAMES

    for name, rows in zip(NAMES, embeddings, strict=True):
        store.enroll(name, rows)
    return store


@pytest.fixture
def serve(artifact: Path, browser: Browser) -> Iterator[Serve]:
    """Starts the service, as `serving` does. Afterwards: the page asked nobody else, and complained of nothing."""
    from page_service import serving

    from efq.runtime import Embedder

    browser.complaints()
    browser.requests()
    served = []
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> str:
            served.append(stack.enter_context(serving(Embedder.open(artifact, threads=1), **options)))
            return served[-1]

        yield start
        requests = browser.requests()
        assert [url for url in requests if not url.startswith((*served, *WITHIN))] == []
        # A status that is no success is always in the console; it is of the service, and shown by the page.
        assert [line for line in browser.complaints() if "/v1/" not in line or "responded with" not in line] == []
