"""Routes of the Open Inference Protocol for one model that embeds faces, for a FastAPI application.

Imported by the service only, as it needs FastAPI.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from numpy.typing import NDArray

from efq.runtime.backends.model import INPUT_NAME, OUTPUT_NAME
from efq.runtime.errors import EfqError, InputError
from efq.runtime.faces.interface import USUAL
from efq.runtime.machine.versions import installed_versions
from efq.runtime.open_inference.messages import (
    BINARY_TYPE,
    HEADER_LENGTH,
    JSON_TYPE,
    InferRequest,
    Message,
    error_message,
    largest_of,
    read_request,
    write_response,
)
from efq.runtime.open_inference.metadata import BINARY_EXTENSION, VERSION, ServedModel, ServerMetadata
from efq.runtime.open_inference.tensors import TensorSpec

MOST_IMAGES = 64

_AT_ONCE = 2**16  # bytes of JSON that are read without letting other requests in
_MODELS = "/v2/models/{name}"
_VERSIONS = "/v2/models/{name}/versions/{version}"
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """How a request that failed is answered."""

    status: int
    text: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServedInference:
    """What the routes serve.

    name: of the model. embed: RGB images as the contract says, uint8 (N, H, W, 3), to embeddings float32 (N, d),
    with the request that they came with.
    is_ready: whether requests are answered now. failure: how an exception of `embed` is answered, None where only the
    routes' own rules are to hold. most_images: of one request.
    """

    name: str
    served: ServedModel
    embed: Callable[[NDArray[np.uint8], Request], Awaitable[NDArray[np.float32]]]
    is_ready: Callable[[], bool] = lambda: True
    failure: Callable[[Exception], Failure | None] = lambda error: None
    most_images: int = MOST_IMAGES

    @functools.cached_property
    def input_spec(self) -> TensorSpec:
        """What is fed, whatever the artifact's interface: bytes as decoded."""
        usual = dataclasses.replace(self.served, interface=USUAL)
        return usual.input_spec(name=INPUT_NAME, batch=None, most_images=self.most_images)


def inference_router(
    find: Callable[[], ServedInference | None], *, route_class: type[APIRoute] = APIRoute
) -> APIRouter:
    """The routes of `/v2`; without those of health, which are the service's. find: None before it can serve.

    route_class: of routes whose functions take the request alone.

    Errors are the protocol's, {"error": text}: 404 for another model or version, 400, 413 and 415 for what cannot be
    read, 503 before it can serve, and what `failure` says.
    """
    router = APIRouter(tags=["Open Inference Protocol"], route_class=route_class)
    efq_version = installed_versions(["efq"]).get("efq", "unknown")

    async def server_metadata(request: Request) -> Response:
        found = find()
        names = () if found is None else (found.name,)
        metadata = ServerMetadata(
            name="efq", version=efq_version, extensions=(BINARY_EXTENSION, "model_metadata_parameters"), models=names
        )
        return _json(metadata.to_dict())

    async def model_metadata(request: Request) -> Response:
        found = _served(find, request)
        return found if isinstance(found, Response) else _json(_described(found))

    async def model_ready(request: Request) -> Response:
        found = _served(find, request)
        if isinstance(found, Response):
            return found
        ready = found.is_ready()
        return _json({"name": found.name, "ready": ready}, status=200 if ready else 503)

    async def infer(request: Request) -> Response:
        found = _served(find, request)
        return found if isinstance(found, Response) else await _infer(found, request)

    for path, names in ((_MODELS, _NAMES[:1]), (_VERSIONS, _NAMES)):  # the first one that fits is taken: infer
        documented = {"parameters": list(names)}
        router.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            responses=_answers("Embeddings"),
            openapi_extra=_REQUEST | documented,
        )
        for end, route, what in (
            ("", model_metadata, "The model's metadata"),
            ("/ready", model_ready, "Whether it is ready"),
        ):
            router.add_api_route(path + end, route, methods=["GET"], responses=_answers(what), openapi_extra=documented)
    router.add_api_route("/v2", server_metadata, methods=["GET"], responses=_answers("The server's metadata"))
    return router


def _served(find: Callable[[], ServedInference | None], request: Request) -> ServedInference | Response:
    """The model that the path names, or why not. No argument of a route is in it, as FastAPI finds these slowly."""
    found = find()
    name, version = request.path_params["name"], request.path_params.get("version", VERSION)
    if found is None:
        return _refused(Failure(status=503, text="expected a model that is loaded, found none yet; try again"))
    if name != found.name or version != VERSION:
        text = f"expected the model {found.name} in version {VERSION}, found {name!r:.100} in {version!r:.20}"
        return _refused(Failure(status=404, text=text))
    return found


def _described(found: ServedInference) -> dict[str, Any]:
    return found.served.metadata(found.name).to_dict()


async def _infer(found: ServedInference, request: Request) -> Response:
    header_length = request.headers.get(HEADER_LENGTH)
    spec = found.input_spec
    if request.headers.get("content-encoding", "identity") != "identity":
        return _refused(Failure(status=415, text="expected a body without Content-Encoding, found one with it"))
    body = await _body(request, largest_of(spec, binary=header_length is not None))
    if isinstance(body, Failure):
        return _refused(body)

    def read() -> InferRequest:
        return read_request(body, header_length, spec=spec, output_name=OUTPUT_NAME)

    try:
        small = header_length is not None or len(body) <= _AT_ONCE
        asked = read() if small else await asyncio.to_thread(read)
        embeddings = await found.embed(asked.images, request)
    except Exception as error:
        return _refused(_failure(found, error))
    message = write_response(
        embeddings,
        asked,
        output_name=OUTPUT_NAME,
        model=found.name,
        version=VERSION,
        parameters={"model_sha256": found.served.model.sha256},
    )
    return _answer(message, 200)


async def _body(request: Request, most: int) -> bytes | Failure:
    """The bytes of the body, of which no more are kept than may come."""
    too_large = Failure(status=413, text=f"expected a body of at most {most:,} bytes, found a larger one; send fewer")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > most:
        return too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            return too_large
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _failure(found: ServedInference, error: Exception) -> Failure:
    """Raises `error` again where it is none of EFQ's and the service does not know it."""
    known = found.failure(error)
    if known is not None:
        return known
    if isinstance(error, InputError):
        return Failure(status=400, text=str(error))
    if isinstance(error, EfqError):
        _logger.error("%s while embedding", type(error).__name__)
        return Failure(status=500, text="the model failed")
    raise error


def _refused(failure: Failure) -> Response:
    response = _answer(error_message(failure.text), failure.status)
    response.headers.update(failure.headers)
    return response


def _json(values: dict[str, Any], status: int = 200) -> Response:
    return _answer(Message.of(values), status)


def _answer(message: Message, status: int) -> Response:
    return Response(message.body, status_code=status, headers=dict(message.headers))


def _answers(description: str) -> dict[int | str, dict[str, Any]]:
    told = {"anyOf": [{"type": "string"}, {"type": "object"}]}  # an object is of what stands before the routes
    error = {"type": "object", "properties": {"error": told}, "required": ["error"]}
    failed = {"description": "What is wrong", "content": {JSON_TYPE: {"schema": error}}}
    contents = {JSON_TYPE: {"schema": {"type": "object"}}}
    if description == "Embeddings":
        contents |= {BINARY_TYPE: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": description, "content": contents}, "4XX": failed, "5XX": failed}


_NAMES = tuple(
    {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in ("name", "version")
)
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string"},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}},
    },
}
_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON_TYPE: {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": {"type": "object"},
                        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1, "maxItems": 1},
                        "outputs": {"type": "array", "items": {"type": "object"}, "maxItems": 1},
                    },
                }
            },
            BINARY_TYPE: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
