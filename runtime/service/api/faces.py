"""/v1/embeddings, /v1/verify and /v1/search."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from efq.runtime.service.api.answers import (
    EmbeddingsAnswer,
    SearchAnswer,
    VerifyAnswer,
    embeddings_answer,
    faces_part,
    json_answer,
)
from efq.runtime.service.api.bodies import json_body
from efq.runtime.service.api.reading import Read, call_of, media_type, read_request
from efq.runtime.service.api.requests import EmbeddingsRequest, Image, SearchRequest, VerifyRequest
from efq.runtime.service.engine import FaceEngine
from efq.runtime.service.errors import ApiError, not_enrolled
from efq.runtime.service.images import AlignedFace, RequestImage

_IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff")


def faces_router(engine: FaceEngine) -> APIRouter:
    """The routes that compute."""
    routes = _FaceRoutes(engine)
    router = APIRouter(prefix="/v1", tags=["faces"])
    router.add_api_route(
        "/embeddings",
        routes.embeddings,
        methods=["POST"],
        response_model=EmbeddingsAnswer,
        openapi_extra=json_body(EmbeddingsRequest, images=_IMAGE_TYPES),
        summary="Embeddings of faces; a body of an image alone is one face",
    )
    router.add_api_route(
        "/verify",
        routes.verify,
        methods=["POST"],
        response_model=VerifyAnswer,
        openapi_extra=json_body(VerifyRequest),
        summary="Whether two faces are one person's, or a face is an enrolled person's",
    )
    router.add_api_route(
        "/search",
        routes.search,
        methods=["POST"],
        response_model=SearchAnswer,
        openapi_extra=json_body(SearchRequest),
        summary="Who of the enrolled people a face is",
    )
    return router


@dataclasses.dataclass(frozen=True, eq=False)
class _FaceRoutes:
    engine: FaceEngine

    async def embeddings(self, request: Request) -> Response:
        engine = self.engine
        crops = False
        if media_type(request).startswith("image/"):
            faces: tuple[AlignedFace, ...] = (await self._one_image(request),)
        else:
            read = await read_request(engine, request, EmbeddingsRequest, lambda body: body.images)
            faces, crops = read.faces, read.body.crops
        embeddings = await engine.embed(np.stack([face.crop for face in faces]), call_of(request))
        return embeddings_answer({"model": model_name(engine), **faces_part(faces, crops=crops)}, embeddings)

    async def _one_image(self, request: Request) -> AlignedFace:
        image = RequestImage(data=await request.body(), name="the body")
        return await self.engine.on_images(call_of(request), self.engine.read_face, image, None)

    async def verify(self, request: Request) -> Response:
        engine, call = self.engine, call_of(request)
        read = await read_request(engine, request, VerifyRequest, _images_to_verify)
        threshold, fmr = engine.threshold(read.body.fmr, read.body.threshold)
        rows = (await engine.embed(read.crops, call)).astype(np.float64)
        if read.body.person is None:
            similarity = float(rows[0] @ rows[1])
            accepted = similarity > threshold
        else:
            found = await engine.on_gallery(call, engine.store().verify, read.body.person, rows[0], threshold=threshold)
            if found is None:
                raise not_enrolled()
            similarity, accepted = found.similarity, found.accepted
        values: dict[str, Any] = {"similarity": similarity, "threshold": threshold, "fmr": fmr, "accepted": accepted}
        return json_answer(values | faces_part(read.faces, crops=read.body.crops))

    async def search(self, request: Request) -> Response:
        engine, call = self.engine, call_of(request)
        store = engine.store()
        read: Read[SearchRequest] = await read_request(engine, request, SearchRequest, lambda body: [body.image])
        threshold, fmr = engine.threshold(read.body.fmr, read.body.threshold)
        rows = await engine.embed(read.crops, call)
        (matches,) = await engine.on_gallery(call, store.search, rows, read.body.k, threshold=threshold)
        values = {"matches": [dataclasses.asdict(match) for match in matches], "threshold": threshold, "fmr": fmr}
        return json_answer(values | faces_part(read.faces, crops=read.body.crops))


def model_name(engine: FaceEngine) -> dict[str, Any]:
    """Whose embeddings they are."""
    model = engine.model
    return {"name": model.name, "sha256": model.sha256, "embedding_size": model.embedding_size}


def _images_to_verify(body: VerifyRequest) -> Sequence[Image]:
    """Two, or one beside a name. Raises ApiError for anything else."""
    if body.images is not None and body.image is None and body.person is None:
        return body.images
    if body.images is None and body.image is not None and body.person is not None:
        return [body.image]
    raise ApiError(422, "invalid_request", "expected images, two of them, or image and person")
