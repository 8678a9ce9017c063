"""Messages of the Open Inference Protocol over HTTP: a request or a response to infer, in JSON or with binary tensors.

The protocol: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md. Binary
tensors: Triton's extension (docs/protocol/extension_binary_data.md of its sources), which OpenVINO Model Server has,
too: the bytes of the tensors follow the JSON in the order in which it names them, and a header says where it ends.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.open_inference.datatypes import DATATYPES
from efq.runtime.open_inference.tensors import TensorHeader, TensorSpec, object_of, tensor_json, text_of
from efq.runtime.reading import parse_json

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY_TYPE = "application/octet-stream"
JSON_TYPE = "application/json"
HEADER_BYTES = 2**16
"""The most bytes of JSON beside the values of tensors."""

_DIGITS = 20
_BYTE_CHARACTERS, _NUMBER_CHARACTERS = 8, 28
_BYTES_A_LIST = 7  # of the densest nested tensor of three channels, [0,0,0], has 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Message:
    """What goes over HTTP: the body, and the headers that say how it is to be read."""

    body: bytes
    headers: Mapping[str, str]

    @classmethod
    def of(cls, values: Mapping[str, Any], binaries: Sequence[bytes] = ()) -> Self:
        """JSON, and the bytes of tensors behind it."""
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        if not any(binaries):
            return cls(body=text, headers={"Content-Type": JSON_TYPE})
        headers = {"Content-Type": BINARY_TYPE, HEADER_LENGTH: str(len(text))}
        return cls(body=b"".join([text, *binaries]), headers=headers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferRequest:
    """A request with one input. binary: whether the output is asked for so. id: to be sent back; None without."""

    images: NDArray[Any]
    id: str | None
    binary: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferResponse:
    """A response with one output. version: of the model; None, as parameters are empty, where the server says none."""

    embeddings: NDArray[Any]
    id: str | None
    version: str | None
    parameters: Mapping[str, Any]


def write_request(images: NDArray[Any], *, input_name: str, output_name: str, binary: bool) -> Message:
    """A request that asks for the output as it sends the input."""
    header, content = tensor_json(input_name, images, binary=binary)
    output: dict[str, Any] = {"name": output_name}
    if binary:
        output["parameters"] = {"binary_data": True}
    return Message.of({"inputs": [header], "outputs": [output]}, [content])


def read_request(body: bytes, header_length: str | None, *, spec: TensorSpec, output_name: str) -> InferRequest:
    """A request whose only input is as `spec` says. Raises InputError for any other message."""
    values, binaries = _split(body, header_length, "a request to infer", largest_of(spec, binary=False))
    inputs = values.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        message = f"expected inputs of one tensor, {spec.describe()}, found {_count(inputs)}"
        raise InputError(message)
    header = TensorHeader.parse(inputs[0], spec)
    images = _values(header, binaries)
    return InferRequest(images=images, id=_optional_text(values, "id"), binary=_wants_binary(values, output_name))


def write_response(
    embeddings: NDArray[np.float32],
    request: InferRequest,
    *,
    output_name: str,
    model: str,
    version: str,
    parameters: Mapping[str, Any],
) -> Message:
    """The response to `request`."""
    header, content = tensor_json(output_name, embeddings, binary=request.binary)
    values: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        values["id"] = request.id
    return Message.of(values | {"parameters": dict(parameters), "outputs": [header]}, [content])


def read_response(body: bytes, header_length: str | None, *, spec: TensorSpec) -> InferResponse:
    """A response in which an output is as `spec` says; others are left. Raises InputError for any other message."""
    values, binaries = _split(body, header_length, "a response to infer", largest_of(spec, binary=False))
    outputs = values.get("outputs")
    if not isinstance(outputs, list) or len(outputs) != 1:
        message = f"expected outputs of one tensor, {spec.describe()}, found {_count(outputs)}"
        raise InputError(message)
    version = values.get("model_version")
    return InferResponse(
        embeddings=_values(TensorHeader.parse(outputs[0], spec), binaries),
        id=_optional_text(values, "id"),
        version=None if version is None else text_of(str(version), "a version of a model"),
        parameters=object_of(values.get("parameters", {}), "parameters of a response"),
    )


def error_message(text: str) -> Message:
    """What the protocol answers a request with that fails."""
    return Message.of({"error": text})


def largest_of(spec: TensorSpec, *, binary: bool) -> int:
    """The most bytes of a message with a tensor as `spec` says, in JSON nested and with spaces."""
    if binary:
        return HEADER_BYTES + spec.most_bytes
    size = DATATYPES[spec.datatype].itemsize
    return HEADER_BYTES + spec.most_bytes // size * (_BYTE_CHARACTERS if size == 1 else _NUMBER_CHARACTERS)


def read_object(body: bytes, what: str) -> Mapping[str, Any]:
    """The object of a message that is JSON alone. Raises InputError."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"expected {what} in JSON, found bytes that are no text in UTF-8"
        raise InputError(message) from error
    lists = text.count("[") + text.count("{") + text.count('"')
    if lists > 2000 + len(text) // _BYTES_A_LIST:
        message = f"expected {what} in JSON, found one of {lists:,} lists, objects and ends of text"
        raise InputError(message)
    values = parse_json(text, what)
    if not isinstance(values, dict):
        message = f"expected {what} as an object of JSON, found {type(values).__name__}"
        raise InputError(message)
    return values


def _split(body: bytes, header_length: str | None, what: str, most_json: int) -> tuple[Mapping[str, Any], memoryview]:
    """The JSON of a message, and the bytes behind it."""
    length = len(body)
    if header_length is not None:
        digits = header_length.strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS and 0 < int(digits) <= length):
            message = (
                f"expected as {HEADER_LENGTH} 1 to {length}, the bytes of JSON in the message, found another value"
            )
            raise InputError(message)
        length = int(digits)
    most = most_json if header_length is None or length == len(body) else HEADER_BYTES
    if length > most:
        message = f"expected {what} with at most {most:,} bytes of JSON, found {length:,}"
        raise InputError(message)
    view = memoryview(body)
    return read_object(bytes(view[:length]), what), view[length:]


def _values(header: TensorHeader, binaries: memoryview) -> NDArray[Any]:
    size = 0 if header.binary_size is None else header.binary_size
    if len(binaries) != size:
        message = f"expected {size:,} bytes of tensors behind the JSON, found {len(binaries):,}"
        raise InputError(message)
    return header.values(binaries)


def _wants_binary(values: Mapping[str, Any], output_name: str) -> bool:
    """Whether the output is asked for in binary. Raises InputError where another one is asked for."""
    wanted = _flag(object_of(values.get("parameters", {}), "parameters of a request"), "binary_data_output", False)
    outputs = values.get("outputs", [])
    if not isinstance(outputs, list) or len(outputs) > 1:
        message = f"expected outputs of one name, {output_name}, found {_count(outputs)}"
        raise InputError(message)
    for output in outputs:
        asked = object_of(output, "an output that is asked for")
        if text_of(asked.get("name"), "the name of an output") != output_name:
            message = f"expected {output_name} as the output that is asked for, found {asked['name']!r:.100}"
            raise InputError(message)
        wanted = _flag(object_of(asked.get("parameters", {}), "parameters of an output"), "binary_data", wanted)
    return wanted


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        message = f"expected true or false as {name}, found {type(value).__name__}"
        raise InputError(message)
    return value


def _optional_text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    return text_of(value, name)


def _count(found: object) -> str:
    return f"{len(found)} of them" if isinstance(found, list) else "no list"
