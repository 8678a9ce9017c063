"""Tensors in messages of the Open Inference Protocol: what is said of one is checked before its values are read."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.open_inference.datatypes import DATATYPES, datatype_of

MOST_DIMENSIONS = 8
LONGEST_NAME = 256
BINARY_SIZE = "binary_data_size"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """What a tensor has to be. shape: None for a dimension of any size above zero; most_bytes: of its values."""

    name: str
    datatype: str
    shape: tuple[int | None, ...]
    most_bytes: int

    def describe(self) -> str:
        """ "images UINT8 [N, 112, 112, 3]"."""
        return f"{self.name} {self.datatype} [{', '.join('N' if size is None else str(size) for size in self.shape)}]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorHeader:
    """What a message says of a tensor. data: its values as JSON has them; None where they are `binary_size` bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    binary_size: int | None
    data: list[Any] | None

    @property
    def dtype(self) -> np.dtype[Any]:
        return DATATYPES[self.datatype]

    @classmethod
    def parse(cls, values: object, spec: TensorSpec) -> Self:
        """From JSON, found to be as `spec` says. Raises InputError, whose message holds no value of the tensor."""
        found = object_of(values, "a tensor")
        shape, datatype = found.get("shape"), found.get("datatype")
        if text_of(found.get("name"), "the name of a tensor") != spec.name:
            raise _other(spec, f"one of the name {found['name']!r:.100}")
        if not isinstance(datatype, str) or datatype != spec.datatype:
            raise _other(spec, f"one of the datatype {datatype!r:.40}")
        if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS or not all(map(_is_size, shape)):
            raise _other(spec, "a shape that is no list of sizes")
        wanted = zip(spec.shape, shape, strict=False)
        if len(shape) != len(spec.shape) or not all(size in (one, None) and one > 0 for size, one in wanted):
            raise _other(spec, f"the shape {str(shape)[:100]}")
        size = DATATYPES[datatype].itemsize * math.prod(shape)
        if size > spec.most_bytes:
            raise _other(spec, f"the shape {str(shape)[:100]}: more than the {spec.most_bytes:,} bytes that are taken")
        binary = object_of(found.get("parameters", {}), "parameters of a tensor").get(BINARY_SIZE)
        data = found.get("data")
        if (binary is None) == (data is None):
            raise _other(spec, f"one with {'neither' if data is None else 'both'} of data and {BINARY_SIZE}")
        if binary is not None and (type(binary) is not int or binary != size):
            raise _other(spec, f"a {BINARY_SIZE} of {str(binary)[:40]} for {size} bytes")
        if data is not None and not isinstance(data, list):
            raise _other(spec, "data that are no list")
        return cls(name=spec.name, datatype=datatype, shape=tuple(shape), binary_size=binary, data=data)

    def values(self, binary: memoryview) -> NDArray[Any]:
        """The tensor: of JSON its data, else `binary`, all of its bytes. Read-only where they are not copied.

        Raises InputError for numbers that its type does not hold, and for others than finite ones.
        """
        if self.data is None:
            found = np.frombuffer(binary, self.dtype)
            if self.datatype == "BOOL" and found.view(np.uint8).max(initial=0) > 1:
                raise _wrong(self, "a byte that is neither 0 nor 1")
        else:
            found = self._numbers(_flat(self.data, self.shape, self.name))
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise _wrong(self, "a value that is not finite")
        return found.reshape(self.shape)

    def _numbers(self, values: list[Any]) -> NDArray[Any]:
        kinds: set[type] = {bool} if self.dtype.kind == "b" else {int, float} if self.dtype.kind == "f" else {int}
        if not set(map(type, values)) <= kinds:
            raise _wrong(self, "a value of another type")
        if self.dtype.kind in "iu":
            limits = np.iinfo(self.dtype)
            if min(values) < limits.min or max(values) > limits.max:
                raise _wrong(self, "a value that the type does not hold")
        try:
            with np.errstate(over="ignore"):  # what becomes infinite is refused above
                return np.array(values, self.dtype)
        except OverflowError as error:
            raise _wrong(self, "a value that the type does not hold") from error


def tensor_json(name: str, values: NDArray[Any], *, binary: bool) -> tuple[dict[str, Any], bytes]:
    """A tensor as a message has it, and its bytes, which follow the JSON; none unless `binary`."""
    datatype = datatype_of(values.dtype)
    header: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(values.shape)}
    if not binary:
        return header | {"data": values.ravel().tolist()}, b""
    content = np.ascontiguousarray(values, DATATYPES[datatype]).tobytes()
    return header | {"parameters": {BINARY_SIZE: len(content)}}, content


def object_of(values: object, what: str) -> Mapping[str, Any]:
    """Raises InputError unless it is an object of JSON."""
    if not isinstance(values, dict):
        message = f"expected {what} as an object of JSON, found {type(values).__name__}"
        raise InputError(message)
    return values


def text_of(value: object, what: str) -> str:
    """Raises InputError unless it is text of 1 to `LONGEST_NAME` characters."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME:
        message = f"expected {what}, text of 1 to {LONGEST_NAME} characters, found something else"
        raise InputError(message)
    return value


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _flat(data: list[Any], shape: Sequence[int], name: str) -> list[Any]:
    """The values of a list that is flat, or nested as its shape says, in row-major order."""
    count = math.prod(shape)
    found = data
    nested = bool(data) and isinstance(data[0], list)
    for inner in shape[1:] if nested else ():
        if len(found) > count or not all(isinstance(one, list) and len(one) == inner for one in found):
            message = f"expected data of the tensor {name} nested as its shape {list(shape)} says, found them otherwise"
            raise InputError(message)
        found = list(itertools.chain.from_iterable(found))
    if len(found) != count:
        message = f"expected {count:,} values in the data of the tensor {name}, found {len(found):,}"
        raise InputError(message)
    return found


def _wrong(header: TensorHeader, found: str) -> InputError:
    return InputError(f"expected values of {header.datatype} in the tensor {header.name}, found {found}")


def _other(spec: TensorSpec, found: str) -> InputError:
    return InputError(f"expected the tensor {spec.describe()}, found {found}")
