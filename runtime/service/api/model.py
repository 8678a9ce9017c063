"""/v1/model: what computes, and at which thresholds."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from efq.runtime.service.api.answers import json_answer
from efq.runtime.service.api.reading import call_of
from efq.runtime.service.engine import FaceEngine


class DetectorPart(BaseModel):
    name: str
    size: list[int]


class ThresholdPart(BaseModel):
    fmr: float
    threshold: float


class DefaultPart(BaseModel):
    fmr: float | None
    threshold: float | None


class GalleryPart(BaseModel):
    """What a probe is compared with, and how much is enrolled."""

    kind: str
    template: str
    people: int
    faces: int


class LimitsPart(BaseModel):
    body_bytes: int
    pixels: int
    images: int
    deadline_seconds: float


class ModelAnswer(BaseModel):
    """thresholds: certified ones. default: what is decided at where a request says neither."""

    name: str
    sha256: str
    embedding_size: int
    backend: str
    input: dict[str, Any]
    detector: DetectorPart | None
    thresholds: list[ThresholdPart]
    default: DefaultPart
    gallery: GalleryPart | None
    limits: LimitsPart


def model_router(engine: FaceEngine) -> APIRouter:
    """The route that describes the service."""
    router = APIRouter(prefix="/v1", tags=["model"])

    async def model(request: Request) -> Response:
        settings, limits = engine.settings, engine.settings.limits
        detector = engine.detector
        gallery = None
        if engine.gallery is not None:
            size = await engine.on_gallery(call_of(request), engine.gallery.size)
            gallery = {
                "kind": engine.gallery.kind,
                "template": engine.gallery.template,
                "people": size.people,
                "faces": size.faces,
            }
        return json_answer(
            {
                "name": engine.model.name,
                "sha256": engine.model.sha256,
                "embedding_size": engine.model.embedding_size,
                "backend": engine.embedder.backend,
                "input": engine.embedder.contract.to_dict(),
                "detector": None if detector is None else {"name": detector.name, "size": list(detector.size)},
                "thresholds": [{"fmr": fmr, "threshold": value} for fmr, value in engine.thresholds.points],
                "default": {"fmr": settings.fmr, "threshold": settings.threshold},
                "gallery": gallery,
                "limits": {
                    "body_bytes": limits.body_bytes,
                    "pixels": limits.pixels,
                    "images": limits.images,
                    "deadline_seconds": limits.deadline,
                },
            }
        )

    router.add_api_route(
        "/model", model, methods=["GET"], response_model=ModelAnswer, summary="The model, its input and thresholds"
    )
    return router
