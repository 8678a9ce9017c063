"""A client of HTTP/1.1 that costs little, as it shares a machine with what it measures."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import re
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from efq.runtime.open_inference.messages import Message, write_request

KINDS = ("infer", "png", "jpeg", "json")
"""Of requests: a tensor in binary, an image as body, and one in base64 in JSON."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_JPEG_QUALITY = 95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Address:
    """Of a service."""

    host: str
    port: int


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._expected = -1
        self._answer: asyncio.Future[int] | None = None
        self.is_open = False

    @classmethod
    async def open(cls, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(cls, address.host, address.port)
        return protocol

    async def ask(self, request: bytes) -> int:
        """The status of the answer, once it is there as a whole. Raises ConnectionError where it never is."""
        if self._transport is None or not self.is_open:
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    @property
    def has_part(self) -> bool:
        """Whether a part of an answer came whose rest has not."""
        return bool(self._buffer)

    def write(self, part: bytes) -> None:
        """Send what is no whole request, and wait for nothing."""
        if self._transport is not None:
            self._transport.write(part)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._expected < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._buffer, 0, end)
            self._expected = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < self._expected or self._answer is None:
            return
        status = int(self._buffer[9:12])
        self.is_open = _CLOSE.search(self._buffer, 0, self._expected) is None
        self._buffer.clear()
        self._expected = -1
        answer, self._answer = self._answer, None
        if not answer.done():
            answer.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())


def requests_of(kind: str, faces: NDArray[np.uint8], *, model: str, images: int = 1) -> list[bytes]:
    """A request of one of `KINDS` for each face, uint8 (N, H, W, 3); of "infer" with so many images, the next ones."""
    rows = np.arange(len(faces))[:, np.newaxis] + np.arange(images)
    batches = faces[rows % len(faces)]
    return [_request(kind, batch, model) for batch in batches]


def _request(kind: str, batch: NDArray[np.uint8], model: str) -> bytes:
    if kind == "infer":
        message = write_request(batch, input_name="images", output_name="embeddings", binary=True)
        return http_request(f"/v2/models/{model}/infer", message)
    if kind in ("png", "jpeg"):
        content = _encoded(batch[0], kind)
        return http_request("/v1/embeddings", Message(body=content, headers={"Content-Type": f"image/{kind}"}))
    images: Sequence[dict[str, str]] = [{"data": base64.b64encode(_encoded(face, "jpeg")).decode()} for face in batch]
    body = json.dumps({"images": images}).encode()
    return http_request("/v1/embeddings", Message(body=body, headers={"Content-Type": "application/json"}))


def _encoded(face: NDArray[np.uint8], kind: str) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if kind == "jpeg" else []
    return cv2.imencode(".jpg" if kind == "jpeg" else ".png", face[..., ::-1], options)[1].tobytes()


def http_request(path: str, message: Message) -> bytes:
    """A POST, as it goes over a connection."""
    headers = {"Host": "127.0.0.1", "Content-Length": str(len(message.body)), **message.headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + message.body
