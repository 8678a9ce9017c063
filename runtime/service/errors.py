"""What goes wrong with a request: a status, a code for programs, and a sentence for people."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping

from efq.runtime.errors import (
    DeviceError,
    EfqError,
    GalleryError,
    IncompatibleArtifactError,
    InputError,
    UnreadableImageError,
    UsageError,
)

_LONGEST_MESSAGE = 1_000
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclasses.dataclass(eq=False)
class ApiError(Exception):
    """Ends a request with an envelope. status: of HTTP. code: stays the same between versions of EFQ.

    The message is for whoever sent the request, and is never logged. headers: beside the usual ones.
    """

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return self.code

    def body(self, request_id: str) -> bytes:
        """The envelope, JSON in UTF-8."""
        message = _NOT_SHOWN.sub("\N{REPLACEMENT CHARACTER}", self.message)[:_LONGEST_MESSAGE]
        envelope = {"error": {"code": self.code, "message": message, "request_id": request_id}}
        return json.dumps(envelope, ensure_ascii=False).encode()


def busy(code: str, what: str, seconds: float = 1.0) -> ApiError:
    """429, to be tried again after so many seconds, as RFC 6585 has it."""
    return ApiError(429, code, f"{what}; try again later", {"Retry-After": str(max(1, round(seconds)))})


def not_enrolled() -> ApiError:
    """404 for a person, or a face of theirs, that is not there."""
    return ApiError(404, "person_not_found", "nobody of that name, with such a face, is enrolled")


def api_error(error: EfqError) -> ApiError:
    """What an error of EFQ's libraries is to whoever sent the request."""
    if isinstance(error, UnreadableImageError):
        return ApiError(422, "unreadable_image", str(error))
    if isinstance(error, InputError):
        return ApiError(422, "invalid_input", str(error))
    if isinstance(error, UsageError):
        return ApiError(422, "invalid_request", str(error))
    if isinstance(error, GalleryError):
        return ApiError(503, "gallery_unavailable", "the gallery cannot be used now; try again", {"Retry-After": "5"})
    if isinstance(error, DeviceError):
        return ApiError(503, "device_unavailable", "the device that computes cannot be used now", {"Retry-After": "5"})
    if isinstance(error, IncompatibleArtifactError):
        return ApiError(503, "model_failed", "the model gives no embeddings that can be used")
    return internal_error()


def internal_error() -> ApiError:
    """What a bug is to whoever sent the request: nothing of the inside."""
    return ApiError(500, "internal", "the service failed; its log has the request's id")


_CODES = {404: "not_found", 405: "method_not_allowed"}


def of_status(status: int, message: str, headers: Mapping[str, str] | None = None) -> ApiError:
    """An error of the framework's own."""
    return ApiError(status, _CODES.get(status, f"http_{status}"), message, headers or {})
