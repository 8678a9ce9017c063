"""The bodies that routes answer with, as the OpenAPI description has them, and how they are written."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import Response
from numpy.typing import NDArray
from pydantic import BaseModel

from efq.runtime.errors import EfqError
from efq.runtime.service.images import AlignedFace


class ModelName(BaseModel):
    name: str
    sha256: str
    embedding_size: int


class Face(BaseModel):
    """Where a face was. input: "crop", "landmarks" or "detected"; the rest is of photos, in their pixels.

    found: how many faces the photo shows.
    """

    input: str
    photo_size: list[int] | None = None
    box: list[float] | None = None
    score: float | None = None
    landmarks: list[list[float]] | None = None
    found: int | None = None


class EmbeddingsAnswer(BaseModel):
    model: ModelName
    embeddings: list[list[float]]
    faces: list[Face]
    crops: list[str] | None = None


class VerifyAnswer(BaseModel):
    similarity: float
    threshold: float
    fmr: float | None
    accepted: bool
    faces: list[Face]
    crops: list[str] | None = None


class EnrollAnswer(BaseModel):
    person: str
    faces: list[str]
    found: list[Face]
    crops: list[str] | None = None


class PersonAnswer(BaseModel):
    person: str
    faces: list[str]


class RemoveAnswer(BaseModel):
    """faces: how many were erased."""

    person: str
    faces: int


class ListedPerson(BaseModel):
    person: str
    faces: int
    enrolled: str


class PeopleAnswer(BaseModel):
    """next: what to ask for `after` to go on, None at the end."""

    people: list[ListedPerson]
    next: str | None


class FoundPerson(BaseModel):
    person: str
    face: str | None
    similarity: float


class SearchAnswer(BaseModel):
    matches: list[FoundPerson]
    threshold: float
    fmr: float | None
    faces: list[Face]
    crops: list[str] | None = None


class Problem(BaseModel):
    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    error: Problem


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "What the request cannot have."},
    "5XX": {"model": ErrorAnswer, "description": "What the service cannot do now."},
}


def json_answer(values: dict[str, Any], status: int = 200) -> Response:
    """A body of JSON."""
    return Response(json.dumps(values, allow_nan=False), status, media_type="application/json")


def embeddings_answer(values: dict[str, Any], embeddings: NDArray[np.float32]) -> Response:
    """As `json_answer`, with `embeddings`, (N, d), each value in the nine digits that tell float32 apart."""
    row = "[" + ",".join(["%.9g"] * embeddings.shape[1]) + "]"
    rows = ",".join(row % tuple(one) for one in embeddings.tolist())
    text = json.dumps(values, allow_nan=False)
    return Response(f'{text[:-1]}, "embeddings": [{rows}]}}', media_type="application/json")


def faces_part(faces: Sequence[AlignedFace], *, crops: bool) -> dict[str, Any]:
    """ "faces", and "crops" where they are asked for."""
    found: dict[str, Any] = {"faces": [face.found for face in faces]}
    if crops:
        found["crops"] = [base64.b64encode(_png(face.crop)).decode() for face in faces]
    return found


def _png(image: NDArray[np.uint8]) -> bytes:
    import cv2

    done, content = cv2.imencode(".png", image[:, :, ::-1])
    if not done:
        message = "expected a crop that can be written as PNG, found one that cannot"
        raise EfqError(message)
    return content.tobytes()
