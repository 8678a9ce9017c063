"""The service in a thread of this process, so that a test may look at what it holds."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

import uvicorn

from efq.runtime import Embedder
from efq.runtime.detection import Detector
from efq.runtime.gallery.stores.store import GalleryStore
from efq.runtime.gallery.stores.thresholds import FmrThresholds
from efq.runtime.service.app import create_app
from efq.runtime.service.engine import FaceEngine
from efq.runtime.service.settings import Limits, ServiceSettings


@contextlib.contextmanager
def serving(
    embedder: Embedder,
    *,
    gallery: GalleryStore | None = None,
    detector: Detector | None = None,
    thresholds: Sequence[tuple[float, float]] = ((1e-3, 0.31), (1e-4, 0.36)),
    keys: tuple[str, ...] = (),
    body_bytes: int = 2_000_000,
) -> Iterator[str]:
    """Its address, while it serves on loopback; what it was given is closed with it.

    thresholds: pairs of an FMR and its threshold, from the highest FMR on, instead of a certificate's.
    """
    settings = ServiceSettings(
        directory=embedder.artifact.directory, api_keys=keys, threads=1, limits=Limits(body_bytes=body_bytes)
    )
    engine = FaceEngine(settings, embedder, gallery=gallery, detector=detector)
    engine.thresholds = FmrThresholds(points=tuple(thresholds))
    app = create_app(settings, engine=engine)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join(10)
        engine.close()
