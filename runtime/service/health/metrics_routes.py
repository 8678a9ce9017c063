"""GET /metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from efq.runtime.service.api.reading import call_of
from efq.runtime.service.engine import FaceEngine
from efq.runtime.service.errors import ApiError
from efq.runtime.service.health.metrics import CONTENT_TYPE, Metrics


def metrics_router(engine: FaceEngine, metrics: Metrics) -> APIRouter:
    """Also for a gallery that does not answer: then without what is enrolled."""
    router = APIRouter(tags=["health"])

    async def read(request: Request) -> Response:
        if engine.gallery is not None:
            try:
                size = await engine.on_gallery(call_of(request), engine.gallery.size)
                metrics.enrolled(size.people, size.faces)
            except ApiError:
                metrics.gallery_failed()
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    router.add_api_route(
        "/metrics",
        read,
        methods=["GET"],
        response_class=PlainTextResponse,
        summary="For Prometheus",
    )
    return router
