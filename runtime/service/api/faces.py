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
from efq.runtime.service.api.names import check_person
from efq.runtime.service.api.reading import DirectRoute, call_of, embed_request, media_type
from efq.runtime.service.api.requests import EmbeddingsRequest, Image, SearchRequest, VerifyRequest
from efq.runtime.service.engine import FaceEngine
from efq.runtime.service.errors import ApiError, not_enrolled
from efq.runtime.service.images import RequestImage

_IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff")


def faces_router(engine: FaceEngine) -> APIRouter:
    """The routes that compute."""
    routes = _FaceRoutes(engine)
    router = APIRouter(prefix="/v1", tags=["faces"], route_class=DirectRoute)
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
        if media_type(request).startswith("image/"):
            image = RequestImage(data=await request.body(), name="the body")
            face, rows = await engine.read_and_embed(
                call_of(request), lambda: engine.read_face(image, None), lambda face: face.crop[np.newaxis]
            )
            part = faces_part([face], crops=False)
        else:
            read, rows = await embed_request(engine, request, EmbeddingsRequest, lambda body: body.images)
            part = faces_part(read.faces, crops=read.body.crops)
        return embeddings_answer({"model": model_name(engine), **part}, rows)

    async def verify(self, request: Request) -> Response:
        engine, call = self.engine, call_of(request)
        read, rows = await embed_request(engine, request, VerifyRequest, self._images_to_verify)
        threshold, fmr = engine.threshold(read.body.fmr, read.body.threshold)
        if read.body.person is None:
            first, second = rows.astype(np.float64)
            similarity = float(first @ second)
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
        read, rows = await embed_request(engine, request, SearchRequest, self._images_to_search)
        threshold, fmr = engine.threshold(read.body.fmr, read.body.threshold)
        (matches,) = await engine.on_gallery(call, store.search, rows, read.body.k, threshold=threshold)
        values = {"matches": [dataclasses.asdict(match) for match in matches], "threshold": threshold, "fmr": fmr}
        return json_answer(values | faces_part(read.faces, crops=read.body.crops))

    def _images_to_verify(self, body: VerifyRequest) -> Sequence[Image]:
        """Two, or one beside a name, once it is found that they can be decided on. Raises ApiError."""
        self.engine.threshold(body.fmr, body.threshold)
        if body.images is not None and body.image is None and body.person is None:
            return body.images
        if body.images is None and body.image is not None and body.person is not None:
            check_person(body.person)
            self.engine.store()
            return [body.image]
        raise ApiError(422, "invalid_request", "expected images, two of them, or image and person")

    def _images_to_search(self, body: SearchRequest) -> Sequence[Image]:
        self.engine.threshold(body.fmr, body.threshold)
        return [body.image]


def model_name(engine: FaceEngine) -> dict[str, Any]:
    """Whose embeddings they are."""
    model = engine.model
    return {"name": model.name, "sha256": model.sha256, "embedding_size": model.embedding_size}
