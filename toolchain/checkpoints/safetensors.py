"""The header of a safetensors file: a length (8 bytes, little-endian), JSON of that length, then the tensors' bytes.

Format: https://huggingface.co/docs/safetensors ("Format").
"""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any, NoReturn

import torch

from efq.runtime.errors import CheckpointError
from efq.runtime.reading import FILE_LIMIT, decode_text, open_regular, parse_json

_LARGEST_HEADER = 100_000_000  # as the format has it
_METADATA = "__metadata__"
_EXPECTED = "a safetensors file"
_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeaderEntry:
    """A tensor's shape and number type, and where its bytes lie in the file."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    begin: int
    length: int


def read_header(path: Path) -> tuple[dict[str, HeaderEntry], dict[str, str]]:
    """The tensors of a safetensors file by name, in the order of their bytes, and the texts of its metadata.

    Raises CheckpointError for a header that is none, and for tensors whose bytes overlap, leave gaps, are not in the
    file, or are not as many as their shapes need.
    """
    with open_regular(path, limit=FILE_LIMIT, expected=_EXPECTED, error_class=CheckpointError) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(_LARGEST_HEADER, size - 8):
            _refuse(path, f"a header of {length:,} bytes in a file of {size:,}: it is truncated or damaged")
        text = decode_text(file.read(length), path, expected=_EXPECTED, error_class=CheckpointError)
    header = parse_json(text, f"the header of {_EXPECTED} at {path}", error_class=CheckpointError)
    if not isinstance(header, dict):
        _refuse(path, "a header that is no JSON object")
    found = {name: _entry(name, value, 8 + length, path) for name, value in header.items() if name != _METADATA}
    ordered = dict(sorted(found.items(), key=lambda item: (item[1].begin, item[1].length)))
    end = 8 + length
    for name, entry in ordered.items():
        if entry.begin != end:
            _refuse(path, f"a gap or an overlap before {name[:100]!r}: it is damaged")
        end += entry.length
    if end != size:
        _refuse(path, f"{size:,} bytes where its header says {end:,}: it is truncated or damaged; fetch it again")
    metadata = header.get(_METADATA)
    texts = metadata.items() if isinstance(metadata, dict) else ()
    return ordered, {key: value for key, value in texts if isinstance(value, str)}


def _entry(name: str, value: object, begin: int, path: Path) -> HeaderEntry:
    record: dict[str, Any] = value if isinstance(value, dict) else {}
    shape, offsets = (_counts(record.get(key)) for key in ("shape", "data_offsets"))
    dtype = _DTYPES.get(str(record.get("dtype")))
    if dtype is None:
        _refuse(path, f"{name[:100]!r} of the type {str(record.get('dtype'))[:20]!r}, which is not read: save float32")
    if shape is None or offsets is None or len(offsets) != 2:
        _refuse(path, f"no shape and two offsets for {name[:100]!r}: it is damaged")
    first, last = offsets
    if last - first != math.prod(shape) * dtype.itemsize:
        _refuse(path, f"{last - first:,} bytes for {name[:100]!r} of {shape}: it is damaged")
    return HeaderEntry(shape=shape, dtype=dtype, begin=begin + first, length=last - first)


def _counts(value: object) -> tuple[int, ...] | None:
    fits = isinstance(value, list) and len(value) <= 32 and all(type(item) is int and item >= 0 for item in value)
    return tuple(value) if fits and isinstance(value, list) else None


def _refuse(path: Path, found: str) -> NoReturn:
    message = f"expected {_EXPECTED} at {path}, found {found}"
    raise CheckpointError(message)
