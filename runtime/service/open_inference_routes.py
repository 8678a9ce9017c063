"""The service's model by the Open Inference Protocol."""

from __future__ import annotations

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray

from efq.runtime.open_inference.metadata import ServedModel
from efq.runtime.open_inference.routes import Failure, ServedInference, inference_router
from efq.runtime.service.api.reading import DirectRoute, call_of
from efq.runtime.service.engine import FaceEngine
from efq.runtime.service.errors import ApiError


def open_inference_router(engine: FaceEngine) -> APIRouter:
    """/v2 and /v2/models, for RemoteEmbedder and other clients of that protocol, whose errors it has."""

    async def embed(images: NDArray[np.uint8], request: Request) -> NDArray[np.float32]:
        return await engine.embed(images, call_of(request))

    inference = ServedInference(
        name=engine.model.name,
        served=ServedModel.of_artifact(engine.embedder.artifact),
        embed=embed,
        is_ready=lambda: not engine.draining,
        failure=_failure,
        most_images=engine.settings.limits.images,
    )
    return inference_router(lambda: inference, route_class=DirectRoute)


def _failure(error: Exception) -> Failure | None:
    if not isinstance(error, ApiError):
        return None
    return Failure(status=error.status, text=error.message, headers=error.headers)
