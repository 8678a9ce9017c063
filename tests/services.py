"""Services for tests: a store of enrolled people in memory, and real processes of efq-serve."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from efq.runtime.detection.detector import Detector
from efq.runtime.embedder import Embedder
from efq.runtime.errors import GalleryError, InputError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.models import model_of
from efq.runtime.gallery.record import EmbeddingModel, GalleryRecord
from efq.runtime.gallery.stores.store import GalleryStore, Match, Person, StoreSize
from efq.runtime.gallery.stores.thresholds import FmrThresholds
from efq.runtime.service.app import create_app
from efq.runtime.service.engine import FaceEngine
from efq.runtime.service.settings import ServiceSettings

STARTING_SECONDS = 60.0


class MemoryStore(GalleryStore):
    """People in a dictionary, with the template "best"; `fail` has every call raise GalleryError."""

    kind = "memory"

    def __init__(self, model: EmbeddingModel, thresholds: FmrThresholds | None = None) -> None:
        super().__init__(GalleryRecord(model=model), "best", thresholds or FmrThresholds())
        self._faces: dict[str, tuple[str, NDArray[np.float32]]] = {}
        self._lock = threading.Lock()
        self.fail = False
        self.closed = False

    def clear(self) -> None:
        """Forget everybody."""
        self._faces.clear()
        self.fail = False

    def _ready(self) -> None:
        if self.fail:
            message = "expected a database that answers, found none"
            raise GalleryError(message)

    def _enroll(self, parts: Sequence[Gallery]) -> None:
        self._ready()
        with self._lock:
            for part in parts:
                for person, face, row in zip(part.people, part.faces, part.embeddings, strict=True):
                    if str(face) in self._faces:
                        message = f"expected faces that are not enrolled yet, found {face}"
                        raise InputError(message)
                    self._faces[str(face)] = (str(person), row)

    def _remove(self, person: str, face: str | None) -> int:
        self._ready()
        with self._lock:
            gone = [name for name, (who, _) in self._faces.items() if who == person and face in (None, name)]
            for name in gone:
                del self._faces[name]
            return len(gone)

    def _templates_of(self, person: str) -> NDArray[np.float32] | None:
        self._ready()
        rows = [row for who, row in self._faces.values() if who == person]
        return np.stack(rows) if rows else None

    def _search(self, probes: NDArray[np.float32], k: int) -> list[tuple[Match, ...]]:
        self._ready()
        return [self._matches(probe.astype(np.float64), k) for probe in probes]

    def _matches(self, probe: NDArray[np.float64], k: int) -> tuple[Match, ...]:
        best: dict[str, Match] = {}
        for face, (person, row) in self._faces.items():
            match = Match(person=person, face=face, similarity=float(row.astype(np.float64) @ probe))
            if person not in best or match.similarity > best[person].similarity:
                best[person] = match
        return tuple(sorted(best.values(), key=lambda one: (-one.similarity, one.person))[:k])

    def _people(self, after: str, limit: int) -> list[Person]:
        self._ready()
        names = sorted({person for person, _ in self._faces.values() if person > after})[:limit]
        return [Person(name=name, faces=len(self.faces_of(name)), enrolled="2026-01-01T00:00:00Z") for name in names]

    def size(self) -> StoreSize:
        self._ready()
        return StoreSize(people=len({person for person, _ in self._faces.values()}), faces=len(self._faces))

    def _faces_of(self, person: str) -> tuple[str, ...]:
        self._ready()
        return tuple(sorted(face for face, (who, _) in self._faces.items() if who == person))

    def export(self) -> Iterator[Gallery]:
        self._ready()
        yield from ()

    def check(self) -> None:
        self._ready()

    def close(self) -> None:
        self.closed = True


def face_png(seed: int, *, side: int = 112) -> bytes:
    """A PNG that holds a picture."""
    import cv2

    small = np.random.default_rng(seed).integers(0, 256, (14, 14, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".png", cv2.resize(small, (side, side)))[1].tobytes())


def image(seed: int, *, side: int = 112) -> dict[str, Any]:
    """It, as a request has it."""
    return {"data": base64.b64encode(face_png(seed, side=side)).decode()}


class App:
    """An application in this process, asked without a port; `engine` may be changed between requests."""

    def __init__(self, settings: ServiceSettings, engine: FaceEngine) -> None:
        self.engine = engine
        self.log: list[dict[str, Any]] = []
        self.app = create_app(settings, engine=engine, log_request=lambda **values: self.log.append(values))

    @property
    def store(self) -> MemoryStore:
        """Its enrolled people."""
        assert isinstance(self.engine.gallery, MemoryStore)
        return self.engine.gallery

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to one request; `json`, `content` and `headers` as httpx takes them."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())


@contextlib.contextmanager
def app_of(
    artifact: Path,
    *,
    store: bool = True,
    detector: Detector | None = None,
    thresholds: Sequence[tuple[float, float]] = (),
    **settings: Any,
) -> Iterator[App]:
    """An application with that artifact, a `MemoryStore` and certified thresholds; `settings` of ServiceSettings."""
    chosen = ServiceSettings(directory=artifact, threads=1, **settings)
    with contextlib.ExitStack() as opened:
        embedder = Embedder.open(artifact, threads=1)
        points = FmrThresholds(points=tuple(thresholds))
        gallery = MemoryStore(model_of(embedder.artifact), points) if store else None
        engine = FaceEngine(chosen, embedder, gallery=gallery, detector=detector)
        opened.callback(engine.close)
        engine.thresholds = points
        yield App(chosen, engine)


class Service:
    """A process of efq-serve on a free port of this machine."""

    def __init__(self, process: subprocess.Popen[str], address: str, log: list[str]) -> None:
        self.process, self.address, self.log = process, address, log
        self.client = httpx.Client(base_url=address, timeout=30, trust_env=False)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def lines(self) -> list[dict[str, Any]]:
        """What it logged until now; libraries that decode pictures may write lines of their own, which are left out."""
        return [json.loads(line) for line in list(self.log) if line.startswith("{")]

    def stop(self, seconds: float = 30) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        return self.process.wait(seconds)


@contextlib.contextmanager
def serving(
    artifact: Path, *options: str, environment: dict[str, str] | None = None, before: Sequence[str] = ()
) -> Iterator[Service]:
    """efq-serve of an artifact with those options, from when it accepts requests; it is ended with the block.

    before: words of a command that becomes the service.
    """
    command = [sys.executable, "-m", "efq.runtime.service.serve_command", str(artifact), "--port", "0", *options]
    command = [*before, *command]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        log: list[str] = []
        errors = process.stderr
        reader = threading.Thread(target=lambda: log.extend(errors), daemon=True)
        reader.start()
        watchdog = threading.Timer(STARTING_SECONDS, process.kill)
        watchdog.start()
        first = process.stdout.readline()
        watchdog.cancel()
        try:
            assert first.startswith("serving "), (first, log)
            service = Service(process, first.split(" at ")[-1].strip(), log)
            with service.client:
                yield service
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
            reader.join(10)
