"""The tensors of an ONNX file as torch's: of a bounded size, held in the file or in one beside it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from efq.runtime.errors import CheckpointError
from efq.runtime.reading import FILE_LIMIT, open_regular
from efq.toolchain.graph.from_onnx.refusal import OnnxRefusalError, refuse

MOST_ELEMENTS = 2**29
"""Of one tensor: 2 GiB of float32."""

_MOST_AXES = 8
_BITS: dict[int, int] = {
    **dict.fromkeys((TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT32), 32),
    **dict.fromkeys((TensorProto.DOUBLE, TensorProto.INT64, TensorProto.UINT64), 64),
    **dict.fromkeys((TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT16, TensorProto.UINT16), 16),
    **dict.fromkeys((TensorProto.INT8, TensorProto.UINT8, TensorProto.BOOL), 8),
    **dict.fromkeys(
        (
            *(TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ),
            *(TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ),
        ),
        8,
    ),
    **dict.fromkeys((TensorProto.INT4, TensorProto.UINT4), 4),
}
FLOATS: tuple[int, ...] = (
    *(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16),
    *(TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ),
)
_NUMBERS = re.compile(r"\d{1,15}", re.ASCII)
_EXTERNAL_KEYS = {"location", "offset", "length", "checksum"}


def is_external(tensor: TensorProto) -> bool:
    """Whether its numbers are in a file beside the model."""
    return bool(tensor.data_location == TensorProto.EXTERNAL or tensor.external_data)


def read_tensor(tensor: TensorProto, folder: Path) -> Tensor:
    """The numbers of `tensor`: floats as float32, whole numbers as int64, truth values as bool.

    `folder` is the model's own; external data is read from no other place. Raises OnnxRefusalError for a tensor that
    claims more than it holds or is of a kind that no network computes with, CheckpointError for external data that
    cannot be read.
    """
    count = _checked_count(tensor)
    bits = _BITS[tensor.data_type]
    if is_external(tensor):
        content = _external(tensor, folder, (count * bits + 7) // 8)
        tensor = TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=content, name=tensor.name)
    try:
        found = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError, IndexError) as error:
        reason = f"the tensor {tensor.name[:80]!r}, whose numbers do not fit its shape {list(tensor.dims)}"
        raise OnnxRefusalError(reason, "the file is damaged: fetch it again") from error
    if tensor.data_type in FLOATS:
        return torch.from_numpy(np.array(found, dtype=np.float32))
    if tensor.data_type == TensorProto.BOOL:
        return torch.from_numpy(np.array(found, dtype=np.bool_))
    return torch.from_numpy(np.array(found).astype(np.int64))


def _checked_count(tensor: TensorProto) -> int:
    """How many numbers it has, as its shape says and what is stored bears out."""
    name, dims = tensor.name[:80], list(tensor.dims)
    if tensor.data_type not in _BITS:
        kind = _type_name(tensor.data_type)
        reason = f"the tensor {name!r} of {kind}"
        refuse(reason, "save its numbers as float32")
    if tensor.HasField("segment"):
        reason = f"the tensor {name!r} in segments"
        refuse(reason, "save it in one piece")
    count = int(math.prod(dims))
    if len(dims) > _MOST_AXES or any(size < 0 for size in dims) or count > MOST_ELEMENTS:
        reason = f"the tensor {name!r} of shape {str(dims)[:80]}"
        refuse(reason, f"expected at most {_MOST_AXES} axes and {MOST_ELEMENTS:,} numbers")
    if not is_external(tensor):
        stored = _stored(tensor)
        if stored != count and not (_BITS[tensor.data_type] < 8 and stored == (count + 1) // 2):
            reason = f"the tensor {name!r} of shape {dims} with {stored:,} numbers"
            refuse(reason, "the file is damaged: fetch it again")
    return count


def _stored(tensor: TensorProto) -> int:
    if tensor.HasField("raw_data"):
        bits = _BITS[tensor.data_type]
        size = len(tensor.raw_data)
        return size if bits <= 8 else size * 8 // bits if size * 8 % bits == 0 else -1
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    counts: list[int] = [len(field) for field in fields]
    return max(counts)


def _type_name(data_type: int) -> str:
    names = {number: name for name, number in TensorProto.DataType.items()}
    return f"the type {names.get(data_type, data_type)}"


def _external(tensor: TensorProto, folder: Path, size: int) -> bytes:
    """The bytes of a tensor in a file beside the model (https://onnx.ai/onnx/repo-docs/ExternalData.html)."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name, location = tensor.name[:80], entries.get("location", "")
    path = _beside(location, folder)
    offset, length = entries.get("offset") or "0", entries.get("length") or str(size)
    known = set(entries) <= _EXTERNAL_KEYS and len(entries) == len(tensor.external_data)
    if path is None or not known or not _NUMBERS.fullmatch(offset) or not _NUMBERS.fullmatch(length):
        reason = f"external data of {name!r} at {location[:80]!r}, offset {offset[:20]!r}, length {length[:20]!r}"
        refuse(reason, "expected the name of a file in the model's own folder")
    if int(length) != size:
        reason = f"{int(length):,} bytes of external data for {name!r}, of shape {list(tensor.dims)}"
        refuse(reason, f"expected {size:,}")
    expected = f"the weights of {name!r}, {size:,} bytes from byte {int(offset):,} on,"
    with open_regular(path, limit=FILE_LIMIT, expected=expected, error_class=CheckpointError) as file:
        file.seek(int(offset))
        content = file.read(size)
    if len(content) != size:
        message = f"expected {expected} in {path}, found a file that ends before; copy the whole folder of the model"
        raise CheckpointError(message)
    return content


def _beside(location: str, folder: Path) -> Path | None:
    """The file `location` names inside `folder`, links followed; None where it is outside or no name."""
    parts = re.split(r"[/\\]", location)
    if not location or "\0" in location or ".." in parts or Path(location).is_absolute() or ":" in parts[0]:
        return None
    path = folder / location
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return None
    return path if inside else None
