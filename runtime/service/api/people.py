"""/v1/people: who is enrolled."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from efq.runtime.errors import InputError
from efq.runtime.gallery.gallery import LONGEST_NAME
from efq.runtime.gallery.stores.store import GalleryStore
from efq.runtime.service.api.answers import (
    EnrollAnswer,
    PeopleAnswer,
    PersonAnswer,
    RemoveAnswer,
    faces_part,
    json_answer,
)
from efq.runtime.service.api.bodies import json_body
from efq.runtime.service.api.names import check_new_person, check_person
from efq.runtime.service.api.reading import call_of, embed_request
from efq.runtime.service.api.requests import EnrollRequest, Image
from efq.runtime.service.engine import FaceEngine
from efq.runtime.service.errors import ApiError, not_enrolled

_MOST_LISTED = 1_000

After = Annotated[str, Query(max_length=LONGEST_NAME, description="The last name of the answer before.")]
Limit = Annotated[int, Query(ge=1, le=_MOST_LISTED)]
FaceName = Annotated[
    str | None, Query(min_length=1, max_length=LONGEST_NAME, description="Only this face of the person.")
]


def people_router(engine: FaceEngine) -> APIRouter:
    """The routes that keep and erase."""
    routes = _PeopleRoutes(engine)
    router = APIRouter(prefix="/v1/people", tags=["people"])
    router.add_api_route("", routes.people, methods=["GET"], response_model=PeopleAnswer, summary="Who is enrolled")
    router.add_api_route(
        "",
        routes.enroll,
        methods=["POST"],
        status_code=201,
        response_model=EnrollAnswer,
        openapi_extra=json_body(EnrollRequest),
        summary="Enroll faces of a person: kept for good once this is answered",
    )
    router.add_api_route(
        "/{person:path}",
        routes.person,
        methods=["GET"],
        response_model=PersonAnswer,
        summary="The faces of an enrolled person",
    )
    router.add_api_route(
        "/{person:path}",
        routes.remove,
        methods=["DELETE"],
        response_model=RemoveAnswer,
        summary="Erase a person, or one face of theirs",
    )
    return router


@dataclasses.dataclass(frozen=True, eq=False)
class _PeopleRoutes:
    engine: FaceEngine

    async def people(self, request: Request, after: After = "", limit: Limit = 100) -> Response:
        store = self.engine.store()
        if after:
            check_person(after)
        found = await self.engine.on_gallery(call_of(request), store.people, after=after, limit=limit)
        people = [{"person": one.name, "faces": one.faces, "enrolled": one.enrolled} for one in found]
        return json_answer({"people": people, "next": found[-1].name if len(found) == limit else None})

    async def enroll(self, request: Request) -> Response:
        engine, call = self.engine, call_of(request)
        store = engine.store()
        read, rows = await embed_request(engine, request, EnrollRequest, _checked_images)
        faces = read.body.faces

        def enroll() -> tuple[str, ...]:
            try:
                return store.enroll(read.body.person, rows, faces=faces)
            except InputError as error:
                if faces is None:
                    raise
                message = "expected faces that are not enrolled yet, found one that is"
                raise ApiError(409, "face_exists", message) from error

        names = await engine.on_gallery(call, enroll)
        part = faces_part(read.faces, crops=read.body.crops)
        values = {"person": read.body.person, "faces": list(names), "found": part.pop("faces")}
        return json_answer(values | part, 201)

    async def person(self, request: Request, person: str) -> Response:
        store: GalleryStore = self.engine.store()
        found = await self.engine.on_gallery(call_of(request), store.faces_of, check_person(person))
        if not found:
            raise not_enrolled()
        return json_answer({"person": person, "faces": list(found)})

    async def remove(self, request: Request, person: str, face: FaceName = None) -> Response:
        store = self.engine.store()
        if face is not None:
            check_person(face)
        count = await self.engine.on_gallery(call_of(request), store.remove, check_person(person), face)
        if not count:
            raise not_enrolled()
        return json_answer({"person": person, "faces": count})


def _checked_images(body: EnrollRequest) -> list[Image]:
    """The images, once it is found that what they are enrolled as can be. Raises ApiError."""
    check_new_person(body.person)
    if body.faces is not None:
        for face in body.faces:
            check_person(face)
        if len(set(body.faces)) != len(body.images):
            message = f"expected as many faces as images, {len(body.images)}, each once"
            raise ApiError(422, "invalid_request", message)
    return list(body.images)
