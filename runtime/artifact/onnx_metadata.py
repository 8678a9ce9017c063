"""The metadata_props of an ONNX file, read without the onnx package or a runtime.

A ModelProto is a sequence of fields, each a key (number * 8 + wire type) and a value; metadata_props is field 14, a
StringStringEntryProto with key = 1 and value = 2 (onnx.proto3; https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from efq.runtime.errors import IncompatibleArtifactError

_METADATA_PROPS = 14


def read_onnx_metadata(path: Path) -> dict[str, str]:
    """Value by key. Raises IncompatibleArtifactError when the file cannot be read or is no ONNX model."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _no_model(path, error) from error
    return onnx_metadata_of(content, path)


def onnx_metadata_of(content: bytes, path: Path) -> dict[str, str]:
    """Value by key of a model in memory, which came from `path`. Raises IncompatibleArtifactError when it is none."""
    try:
        properties = [value for number, value in _fields(memoryview(content)) if number == _METADATA_PROPS]
        entries = [dict(_fields(value)) for value in properties]
        return {_text(entry.get(1)): _text(entry.get(2)) for entry in entries}
    except (ValueError, IndexError) as error:
        raise _no_model(path, error) from error


def _no_model(path: Path, error: Exception) -> IncompatibleArtifactError:
    return IncompatibleArtifactError(
        f"expected an ONNX model at {path}, found a file that is none ({error}); export it with efq-export"
    )


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each length-delimited field; others are passed over."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire_type = key >> 3, key & 7
        match wire_type:
            case 0:
                _, place = _varint(data, place)
            case 1:
                place += 8
            case 5:
                place += 4
            case 2:
                size, place = _varint(data, place)
                if place + size > len(data):
                    message = "it ends within a field"
                    raise ValueError(message)
                yield number, data[place : place + size]
                place += size
            case _:
                message = f"wire type {wire_type} at byte {place}"
                raise ValueError(message)


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _text(value: memoryview | None) -> str:
    return "" if value is None else bytes(value).decode("utf-8")
