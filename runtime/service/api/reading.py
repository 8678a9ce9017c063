"""From a request to faces, on a thread of the pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from fastapi import Request, Response
from fastapi.routing import APIRoute
from numpy.typing import NDArray
from pydantic import BaseModel

from efq.runtime.service.api.requests import Image, parse_request
from efq.runtime.service.call import Call
from efq.runtime.service.engine import FaceEngine
from efq.runtime.service.errors import ApiError
from efq.runtime.service.images import AlignedFace, ImageInput, RequestImage, Take
from efq.runtime.service.limits.json_body import decode_base64

JSON = "application/json"

Body = TypeVar("Body", bound=BaseModel)


@dataclasses.dataclass(frozen=True, eq=False)
class Read(Generic[Body]):
    """A request's body, and the faces of its images in their order."""

    body: Body
    faces: tuple[AlignedFace, ...]

    @property
    def crops(self) -> NDArray[np.uint8]:
        """(N, H, W, 3)."""
        return np.stack([face.crop for face in self.faces])


class DirectRoute(APIRoute):
    """A route whose function takes the request alone: the framework finds nothing out for it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        return self.endpoint


def call_of(request: Request) -> Call:
    """What is known of the request since it came."""
    call: Call = request.state.call
    return call


def media_type(request: Request) -> str:
    """Of its body, lower case, without parameters. Raises ApiError for text in another encoding than UTF-8."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    name, _, charset = parameters.strip().lower().partition("=")
    if name == "charset" and charset.strip('"') not in ("utf-8", "utf8"):
        raise ApiError(415, "unsupported_media_type", "expected a body in UTF-8")
    return kind.strip().lower()


async def embed_request(
    engine: FaceEngine, request: Request, kind: type[Body], images_of: Callable[[Body], Sequence[Image]]
) -> tuple[Read[Body], NDArray[np.float32]]:
    """Parse a body of JSON, align the faces of its images, and embed them: (N, d). Raises ApiError."""
    if media_type(request) != JSON:
        raise ApiError(415, "unsupported_media_type", f"expected a body of {JSON} in Content-Type")
    content = await request.body()
    call = call_of(request)

    def read() -> Read[Body]:
        body = parse_request(content, kind, structure=engine.settings.limits.structure)
        images = images_of(body)
        given: ImageInput | None = getattr(body, "input", None)
        return Read(body, read_images(engine, call, images, given, getattr(body, "take", "largest")))

    return await engine.read_and_embed(call, read, lambda found: found.crops)


def read_images(
    engine: FaceEngine, call: Call, images: Sequence[Image], kind: ImageInput | None, take: Take
) -> tuple[AlignedFace, ...]:
    """The face of each image. Raises ApiError, and DeadlinePassedError between two of them."""
    most = engine.settings.limits.images
    if len(images) > most:
        raise ApiError(413, "too_many_images", f"expected at most {most} images in a request, found {len(images)}")
    faces = []
    for place, image in enumerate(images):
        call.check()
        name = f"image {place}"
        found = RequestImage(data=decode_base64(image.data, name), name=name, landmarks=image.landmarks)
        faces.append(engine.read_face(found, kind, take))
    return tuple(faces)
