"""The bodies that routes take."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from efq.runtime.gallery.gallery import LONGEST_NAME
from efq.runtime.gallery.stores.store import MOST_MATCHES
from efq.runtime.service.errors import ApiError
from efq.runtime.service.images import ImageInput, Take
from efq.runtime.service.limits.json_body import parse_json

_MOST_IMAGES = 1_000
_SHOWN = 5

Point = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2, max_length=2)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Body = TypeVar("Body", bound=BaseModel)


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Image(_Request):
    """A file, and where its face is, if that is known."""

    data: Annotated[str, Field(min_length=1, description="A JPEG, PNG, WebP, BMP or TIFF file in base64 (RFC 4648).")]
    landmarks: Annotated[
        list[Point] | None,
        Field(
            min_length=5,
            max_length=5,
            description="Left eye, right eye, nose, left and right corner of the mouth as seen in the photo: x, y in "
            "its pixels as it is shown.",
        ),
    ] = None


class _Faces(_Request):
    input: Annotated[
        ImageInput | None,
        Field(
            description="What the images are. Left out: with landmarks a photo; of the model's size a crop; else a "
            "photo, where the service has a detector."
        ),
    ] = None
    take: Annotated[
        Take, Field(description="Of several faces in a photo: the largest, or none, which is an error.")
    ] = "largest"
    crops: Annotated[bool, Field(description="Whether to send the aligned crops back, PNG in base64.")] = False


class _Decision(_Faces):
    fmr: Annotated[
        float | None, Field(gt=0, lt=1, description="False match rate whose certified threshold to decide at.")
    ] = None
    threshold: Annotated[float | None, Field(ge=-1, le=1, description="Cosine above which faces match.")] = None


class EmbeddingsRequest(_Faces):
    images: Annotated[list[Image], Field(min_length=1, max_length=_MOST_IMAGES)]


class VerifyRequest(_Decision):
    """Two images, or one and the person it is said to be."""

    images: Annotated[list[Image] | None, Field(min_length=2, max_length=2)] = None
    image: Image | None = None
    person: Name | None = None


class EnrollRequest(_Faces):
    person: Name
    images: Annotated[list[Image], Field(min_length=1, max_length=_MOST_IMAGES)]
    faces: Annotated[
        list[Name] | None,
        Field(
            min_length=1,
            max_length=_MOST_IMAGES,
            description="Identifiers for the faces, each once in the gallery, so that a request that is sent again "
            "enrolls nothing twice. Made by the service unless given.",
        ),
    ] = None


class SearchRequest(_Decision):
    image: Image
    k: Annotated[int, Field(ge=1, le=MOST_MATCHES, description="The most matches.")] = 5


REQUESTS: tuple[type[BaseModel], ...] = (EmbeddingsRequest, VerifyRequest, EnrollRequest, SearchRequest)


def parse_request(body: bytes, kind: type[Body], *, structure: int) -> Body:
    """The body of a request. Raises ApiError that says where it is not so, without what was found there."""
    values = parse_json(body, structure=structure)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        told = "; ".join(f"{_place(problem['loc'])}: {problem['msg']}" for problem in problems[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ApiError(422, "invalid_request", f"{told}{more}") from error


def _place(location: tuple[Any, ...]) -> str:
    return ".".join(str(part)[:50] for part in location) or "body"
