"""The tensors in a file of weights, by the keys that lead to them; read when they are asked for, and no others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efq.runtime.errors import CheckpointError
from efq.runtime.file_kinds import FIRST_BYTES, PICKLE, SAFETENSORS, ZIP, kind_of_bytes
from efq.runtime.reading import FILE_LIMIT, open_regular
from efq.toolchain.checkpoints.records import ArrayRecord, Foreign, TensorRecord, records_of
from efq.toolchain.checkpoints.safetensors import read_header
from efq.toolchain.checkpoints.torch_file import Outline, read_outline

_EXPECTED = "a file of weights"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor that is not read yet. begin: its memory's first byte in the file; offset, steps: in numbers, from there.

    data: a numpy array's own bytes instead. kind: what it is instead of dense numbers, "" for those. sources, combine:
    of a tensor that is made of others in the file. spare: whether it says the same as others, as these two do.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    begin: int = 0
    steps: tuple[int, ...] = ()
    offset: int = 0
    data: ArrayRecord | None = None
    kind: str = ""
    sources: tuple[str, ...] = ()
    combine: Callable[..., Tensor] | None = None
    spare: bool = False

    @property
    def meta(self) -> Tensor:
        """Its shape and type without numbers."""
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """tensors: by name, that of a tensor in dicts is their keys with dots between. modules,
    foreign: what else the file holds and is not made, networks pickled whole by where they are, and others' objects.
    format, keys: of the file and of what it holds first, for messages. texts: by
    key, of its metadata or beside the weights.
    """

    path: Path
    format: str
    tensors: Mapping[str, StoredTensor]
    modules: Mapping[str, str] = dataclasses.field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def load(self, names: Iterable[str]) -> dict[str, Tensor]:
        """These tensors, on the CPU. Raises CheckpointError for one without dense numbers, naming it."""
        with open_regular(self.path, limit=FILE_LIMIT, expected=_EXPECTED, error_class=CheckpointError) as file:
            return {name: self._read(file, name) for name in names}

    def _read(self, file: BufferedReader, name: str) -> Tensor:
        stored = self.tensors[name]
        if stored.combine is not None:
            return stored.combine(*[self._read(file, source).float() for source in stored.sources])
        if stored.kind:
            message = (
                f"expected dense numbers as the tensor {name} in {self.path}, found one that is {stored.kind}: save "
                "dense float32 tensors"
            )
            raise CheckpointError(message)
        if stored.data is not None:
            return _array(stored.data)
        if not all(stored.shape):
            return torch.empty(stored.shape, dtype=stored.dtype)
        width = stored.dtype.itemsize
        reach = sum((count - 1) * step for count, step in zip(stored.shape, stored.steps, strict=True)) + 1
        file.seek(stored.begin + stored.offset * width)
        memory = bytearray(reach * width)
        if file.readinto(memory) != len(memory):
            message = f"expected {len(memory):,} bytes of {name} in {self.path}, found fewer: it is truncated"
            raise CheckpointError(message)
        return torch.frombuffer(memory, dtype=stored.dtype).as_strided(stored.shape, stored.steps)


def looks_like_weights(path: Path) -> bool:
    """Whether `path` is a regular file that can be read and begins as torch's, pickles or safetensors do."""
    try:
        with open_regular(path, limit=FILE_LIMIT, expected=_EXPECTED, error_class=CheckpointError) as file:
            return kind_of_bytes(file.read(FIRST_BYTES)) in (ZIP, PICKLE, SAFETENSORS)
    except CheckpointError:
        return False


def open_weights(path: Path) -> WeightsFile:
    """What is in the file at `path`: torch's, a pickle of arrays, or safetensors.

    Raises CheckpointError for another format, an archive of code, and a damaged file.
    """
    with open_regular(path, limit=FILE_LIMIT, expected=_EXPECTED, error_class=CheckpointError) as file:
        kind = kind_of_bytes(file.read(FIRST_BYTES))
    if kind is SAFETENSORS:
        header, texts = read_header(path)
        tensors = {
            name: StoredTensor(shape=entry.shape, dtype=entry.dtype, begin=entry.begin, steps=_contiguous(entry.shape))
            for name, entry in header.items()
        }
        return WeightsFile(path=path, format="safetensors", tensors=tensors, keys=tuple(tensors), texts=texts)
    return _of_outline(path, read_outline(path))


def _of_outline(path: Path, outline: Outline) -> WeightsFile:
    tensors: dict[str, StoredTensor] = {}
    modules: dict[str, str] = {}
    for place, record in records_of(outline.content):
        if isinstance(record, Foreign):
            if record.is_module:
                modules[place] = record.name
            continue
        if place in tensors:
            message = f"expected each name once in {path}, found two tensors {place[:100]!r}: keep one of them"
            raise CheckpointError(message)
        tensors[place] = _of_array(record) if isinstance(record, ArrayRecord) else _of_tensor(record, outline)
    content = outline.content
    keys = tuple(map(str, content)) if isinstance(content, dict) else (_called(content),)
    values = content.items() if isinstance(content, dict) else ()
    texts = {str(key): value for key, value in values if isinstance(key, str) and isinstance(value, str)}
    return WeightsFile(
        path=path,
        format=outline.form,
        tensors=tensors,
        modules=modules,
        foreign=outline.foreign,
        keys=keys,
        texts=texts,
    )


def _called(content: Any) -> str:
    if isinstance(content, Foreign):
        return content.name
    names = {TensorRecord: "one tensor without a name", ArrayRecord: "one numpy array without a name"}
    return names.get(type(content), type(content).__name__)


def _of_tensor(record: TensorRecord, outline: Outline) -> StoredTensor:
    if record.storage is None:
        return StoredTensor(shape=record.shape, kind=record.kind)
    begin, _ = outline.memory[record.storage.key]
    return StoredTensor(
        shape=record.shape,
        dtype=record.dtype,
        begin=begin,
        steps=record.steps,
        offset=record.offset,
    )


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps = [1]
    for size in reversed(shape[1:]):
        steps.append(steps[-1] * size)
    return tuple(reversed(steps)) if shape else ()


def _of_array(record: ArrayRecord) -> StoredTensor:
    if not record.type.code:
        return StoredTensor(shape=(), kind="a numpy array of objects")
    dtype = torch.from_numpy(np.empty(0, _native(record))).dtype
    return StoredTensor(shape=record.shape, dtype=dtype, data=record)


def _native(record: ArrayRecord) -> np.dtype[np.generic]:
    return np.dtype(record.type.code).newbyteorder("=")


def _array(record: ArrayRecord) -> Tensor:
    numbers = np.frombuffer(record.data, np.dtype(record.type.order + record.type.code)).astype(_native(record))
    return torch.from_numpy(numbers.reshape(record.shape, order="F" if record.columns_first else "C").copy())
