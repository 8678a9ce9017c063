"""What Prometheus is told. No label holds a name, an address of a client or anything else of a request's content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

if TYPE_CHECKING:
    from efq.runtime.service.engine import FaceEngine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FACES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


class Metrics:
    """Of one service, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._seconds = Histogram(
            "efq_request_seconds",
            "From a request's arrival to its answer.",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._faces = Histogram("efq_batch_faces", "Faces computed at once.", buckets=_FACES, registry=registry)
        self._waited = Histogram(
            "efq_batch_wait_seconds", "How long the oldest face of a batch waited.", buckets=_SECONDS, registry=registry
        )
        self._computed = Histogram(
            "efq_batch_compute_seconds", "How long a batch was computed.", buckets=_SECONDS, registry=registry
        )
        self._rejected = Counter(
            "efq_rejected_requests", "Requests refused before they reached a route.", ("reason",), registry=registry
        )
        self._requests = Gauge("efq_requests_in_progress", "Requests that are here.", registry=registry)
        self._enrolled = Gauge("efq_enrolled", "How much is enrolled.", ("what",), registry=registry)
        self._gallery = Gauge("efq_gallery_up", "Whether the gallery answered.", registry=registry)

    def watch(self, engine: FaceEngine, version: str) -> None:
        """What does not change, or is asked for when it is read."""
        registry = self._registry
        Gauge("efq_queue_faces", "Faces that wait.", registry=registry).set_function(lambda: engine.batcher.waiting)
        Gauge("efq_queue_places", "Faces that may wait.", registry=registry).set(engine.settings.limits.queue)
        Gauge("efq_draining", "Whether the service is about to end.", registry=registry).set_function(
            lambda: float(engine.draining)
        )
        thresholds = Gauge("efq_threshold", "Certified cosine threshold of an FMR.", ("fmr",), registry=registry)
        for fmr, threshold in engine.thresholds.points:
            thresholds.labels(f"{fmr:g}").set(threshold)
        settings = engine.settings
        default = settings.threshold if settings.fmr is None else engine.thresholds.at(settings.fmr)
        if default is not None:
            Gauge("efq_default_threshold", "Decided at where a request says nothing.", registry=registry).set(default)
        Info("efq_build", "What is running.", registry=registry).info(
            {"version": version, "model_sha256": str(engine.model.sha256), "backend": engine.embedder.backend}
        )

    def request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """route: its template."""
        self._seconds.labels(method, route, str(status)).observe(seconds)

    def in_progress(self, count: int) -> None:
        """How many requests are here now."""
        self._requests.set(count)

    def rejected(self, reason: str) -> None:
        """reason: a code of an envelope."""
        self._rejected.labels(reason).inc()

    def batch(self, *, faces: int, waited: float, seconds: float) -> None:
        """A batch, as `BatchObserver` has it."""
        self._faces.observe(faces)
        self._waited.observe(waited)
        self._computed.observe(seconds)

    def enrolled(self, people: int, faces: int) -> None:
        """How much is enrolled now."""
        self._gallery.set(1)
        self._enrolled.labels("people").set(people)
        self._enrolled.labels("faces").set(faces)

    def gallery_failed(self) -> None:
        """It did not answer."""
        self._gallery.set(0)

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self._registry)
