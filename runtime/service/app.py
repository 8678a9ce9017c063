"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from efq.runtime.machine.versions import installed_versions
from efq.runtime.service.api.answers import ERRORS
from efq.runtime.service.api.faces import faces_router
from efq.runtime.service.api.model import model_router
from efq.runtime.service.api.people import people_router
from efq.runtime.service.api.reading import call_of
from efq.runtime.service.engine import FaceEngine
from efq.runtime.service.errors import ApiError, of_status
from efq.runtime.service.health.health_routes import health_router
from efq.runtime.service.health.metrics import Metrics
from efq.runtime.service.health.metrics_routes import metrics_router
from efq.runtime.service.health.readiness import Readiness
from efq.runtime.service.limits.admission import Admission
from efq.runtime.service.limits.guard import Guard
from efq.runtime.service.limits.recorder import Recorder
from efq.runtime.service.open_inference_routes import open_inference_router
from efq.runtime.service.openapi import description_of
from efq.runtime.service.page.router import page_router
from efq.runtime.service.settings import ServiceSettings

CLOSE_SECONDS = 5.0
"""For a database that does not answer."""

LogRequest = Callable[..., None]


def create_app(
    settings: ServiceSettings, *, engine: FaceEngine | None = None, log_request: LogRequest | None = None
) -> FastAPI:
    """The application, with what it needs opened; closed with the application's lifespan.

    engine: one that is open already, instead of what the settings name; whoever opened it closes it. log_request: is
    told of each request, as `Recorder` says. Raises what `FaceEngine.open` does.
    """
    metrics = Metrics()
    opened = FaceEngine.open(settings, metrics) if engine is None else engine
    version = installed_versions(["efq"]).get("efq", "unknown")
    metrics.watch(opened, version)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        if engine is None:
            app.state.closed = await _close(opened)

    app = FastAPI(
        title="EFQ",
        description="Face embeddings in integers, verification and search of enrolled people.",
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        lifespan=lifespan,
        responses=ERRORS,
    )
    app.state.engine = opened
    app.state.closed = True
    app.openapi = functools.cache(lambda: description_of(app))  # type: ignore[method-assign]
    app.include_router(open_inference_router(opened))
    app.include_router(faces_router(opened))
    app.include_router(people_router(opened))
    app.include_router(model_router(opened))
    app.include_router(health_router(Readiness(opened)))
    app.include_router(metrics_router(opened, metrics))
    app.include_router(page_router())
    app.add_exception_handler(HTTPException, _of_the_framework)
    app.add_exception_handler(RequestValidationError, _of_parameters)
    _add_limits(app, settings, metrics, log_request)
    return app


def _add_limits(app: FastAPI, settings: ServiceSettings, metrics: Metrics, log_request: LogRequest | None) -> None:
    """What stands before the routes; the last one added is the first that sees a request."""
    limits = settings.limits

    def record(*, method: str, route: str, status: int, seconds: float, request_id: str) -> None:
        metrics.request(method=method, route=route, status=status, seconds=seconds)
        if log_request is not None:
            log_request(method=method, route=route, status=status, seconds=seconds, request_id=request_id)

    app.add_middleware(Admission, limits=limits, rejected=metrics.rejected, counted=metrics.in_progress)
    app.add_middleware(Guard, keys=settings.api_keys, hosts=settings.hosts, rejected=metrics.rejected)
    app.add_middleware(Recorder, record=record, send_seconds=limits.send_seconds)


async def _close(engine: FaceEngine) -> bool:
    """Close it in a thread that nobody waits for at the end; whether that was done in time."""
    closing = threading.Thread(target=engine.close, daemon=True)
    closing.start()
    until = time.monotonic() + CLOSE_SECONDS
    while closing.is_alive() and time.monotonic() < until:
        await asyncio.sleep(0.01)
    return not closing.is_alive()


async def _of_the_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, of_status(error.status_code, str(error.detail), error.headers))


async def _of_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = "; ".join(f"{'.'.join(map(str, one['loc']))[:100]}: {one['msg']}" for one in error.errors()[:5])
    return _answer(request, ApiError(422, "invalid_request", told))


def _answer(request: Request, error: ApiError) -> Response:
    body = error.body(call_of(request).request_id)
    return Response(body, error.status, dict(error.headers), media_type="application/json")
