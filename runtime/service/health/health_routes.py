"""Whether the process lives and whether it is to be sent requests, as the Open Inference Protocol has them."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel

from efq.runtime.service.api.answers import json_answer
from efq.runtime.service.health.readiness import Readiness


class LiveAnswer(BaseModel):
    live: bool


class ReadyAnswer(BaseModel):
    """checks: what has to hold, by name."""

    ready: bool
    checks: dict[str, bool]


def health_router(readiness: Readiness) -> APIRouter:
    """/v2/health/live and /v2/health/ready: 200 for yes, 503 for no."""
    router = APIRouter(prefix="/v2/health", tags=["health"])

    async def live() -> Response:
        return json_answer({"live": True})

    async def ready() -> Response:
        checks = await readiness()
        holds = all(checks.values())
        return json_answer({"ready": holds, "checks": checks}, 200 if holds else 503)

    router.add_api_route(
        "/live", live, methods=["GET"], response_model=LiveAnswer, summary="Whether the process answers"
    )
    router.add_api_route(
        "/ready",
        ready,
        methods=["GET"],
        response_model=ReadyAnswer,
        responses={503: {"model": ReadyAnswer, "description": "Not now."}},
        summary="Whether requests are to be sent to it",
    )
    return router
