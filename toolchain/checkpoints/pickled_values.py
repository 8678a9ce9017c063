"""The values that torch, numpy and the standard library write into a pickle as calls: each as data, by its name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from efq.toolchain.checkpoints.records import (
    ArrayRecord,
    Foreign,
    Name,
    NumpyType,
    StorageRecord,
    TensorRecord,
    refuse,
)

_DTYPES = {  # of the classes of torch's memory, whose names it has kept since 0.1
    **{"Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16},
    **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
    **{"Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128},
    **{"QInt32": torch.qint32, "QInt8": torch.qint8, "QUInt8": torch.quint8, "QUInt4x2": torch.quint4x2},
    **{"QUInt2x4": torch.quint2x4, "Untyped": torch.uint8},
}
_MOST_DIMENSIONS = 32


def plain_key(key: Any) -> bool:
    """Whether a value may be a key here: others take long to compare, and name nothing."""
    return isinstance(key, str | int | float | bytes | None)


def plain_values(values: Any) -> list[Any]:
    """Those that may be members of a set."""
    return [value for value in values if plain_key(value)]


def storage_of(identity: Any) -> StorageRecord | Name:
    """What is kept outside a pickle: ("storage", its class, its record's key, a device, how many elements)."""
    if identity[0] == "module" and isinstance(identity[1], Name):  # before 1.6, with its source
        return identity[1]
    kind, owner, key, _, count = identity[:5]
    name = owner.text.rpartition(".")[2] if isinstance(owner, Name) else ""
    dtype = _DTYPES.get(name.removesuffix("Storage"))
    view = identity[5] if len(identity) > 5 else None
    if (
        view is not None
        or kind != "storage"
        or dtype is None
        or not isinstance(key, str)
        or type(count) is not int
        or count < 0
    ):
        refuse("memory that torch.save does not name so")
    return StorageRecord(key, count * dtype.itemsize, dtype)


def called(function: Any, arguments: Any) -> Any:
    """What a call written into a pickle stands for: its value as data, or a `Foreign`."""
    name = function.text if isinstance(function, Name) else f"a {type(function).__name__}"
    maker = _MAKERS.get(name)
    if name == "copyreg._reconstructor" and isinstance(arguments, tuple) and isinstance(arguments[0], Name):
        name = arguments[0].text
    return Foreign(name) if maker is None or not isinstance(arguments, tuple) else maker(*arguments)


def built(target: Any, state: Any) -> Any:
    """`target` with a state on top: the number type or bytes of an array; the state of torch's dictionaries is dropped.

    Another object's state is kept beside it; a plain value's is code that was meant for another class.
    """
    if isinstance(target, NumpyType):
        _order(target, state)
    elif isinstance(target, ArrayRecord):
        _fill(target, state)
    elif isinstance(target, Foreign):
        target.state = state
    elif not isinstance(target, dict | TensorRecord):
        return Foreign(f"{type(target).__name__} with a state")
    return target


def _tensor(storage: Any, offset: Any, size: Any, steps: Any, *_: Any) -> TensorRecord:
    return _dense(storage, offset, size, steps, None)


def _tensor_v2(storage: Any, offset: Any, size: Any, steps: Any, _: Any, __: Any, kept: Any = None) -> TensorRecord:
    return _lazy(kept) or _dense(storage, offset, size, steps, None)


def _tensor_v3(
    storage: Any, offset: Any, size: Any, steps: Any, _: Any, __: Any, dtype: Any, kept: Any = None
) -> TensorRecord:
    found = getattr(torch, dtype.text.removeprefix("torch."), None) if isinstance(dtype, Name) else None
    if not isinstance(found, torch.dtype):
        refuse("a tensor of a type that this torch does not have")
    return _lazy(kept) or _dense(storage, offset, size, steps, found)


def _lazy(kept: Any) -> TensorRecord | None:
    """Conjugated or negated views, which have other numbers than their memory."""
    pending = isinstance(kept, dict) and any(value is not False for value in kept.values())
    return TensorRecord("a view with its own numbers (conj or neg)", None) if pending else None


def _dense(storage: Any, offset: Any, size: Any, steps: Any, dtype: torch.dtype | None) -> TensorRecord:
    whole = [offset, *size, *steps]
    if not isinstance(storage, StorageRecord) or not all(type(value) is int and value >= 0 for value in whole):
        refuse("a tensor without memory, sizes and steps")
    dtype = dtype or storage.dtype
    reach = sum((count - 1) * step for count, step in zip(size, steps, strict=True)) + 1 if all(size) else 0
    if (offset + reach) * dtype.itemsize > storage.bytes:
        refuse(f"a tensor of {tuple(size)} that reaches beyond its memory of {storage.bytes:,} bytes")
    return TensorRecord("", storage, tuple(size), tuple(steps), offset, dtype)


def _tensor_of_a_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """A tensor with attributes of its own, which are left out."""
    return called(function, arguments)


def _number_type(code: Any, *_: Any) -> NumpyType:
    return NumpyType(code if isinstance(code, str) and re.fullmatch(r"f[248]|[iu][1248]|b1", code) else "")


def _order(target: NumpyType, state: Any) -> None:
    """(version, byte order, the rest of what a structured type has)."""
    if any(part is not None for part in state[2:5]):
        target.code = ""
    target.order = state[1] if state[1] in ("<", ">") else "="


def _fill(target: ArrayRecord, state: Any) -> None:
    _, shape, kind, columns_first, data = state
    found = _array(data, kind, shape, columns_first=bool(columns_first))
    target.shape, target.type, target.columns_first, target.data = (
        found.shape,
        found.type,
        found.columns_first,
        found.data,
    )


def _array(data: Any, kind: Any, shape: Any, *, columns_first: bool = False) -> ArrayRecord:
    if not isinstance(kind, NumpyType) or not kind.code or not isinstance(data, bytes | bytearray):
        return ArrayRecord()  # of objects or records: none of a network's
    sizes = shape if isinstance(shape, tuple) else (-1,)
    fits = len(sizes) <= _MOST_DIMENSIONS and all(type(size) is int and size >= 0 for size in sizes)
    if not fits or math.prod(sizes) * int(kind.code[1]) != len(data):
        refuse("a numpy array with other sizes than bytes")
    return ArrayRecord(sizes, kind, columns_first, bytes(data))


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    return {key: value for key, value in pairs if plain_key(key)}


def _counted(values: Any = ()) -> dict[Any, Any]:
    return _ordered(dict(values).items())


def _text(value: Any, *_: Any) -> bytes:
    return str(value).encode("latin1")


_NUMPY = ("numpy.core", "numpy._core")  # before and since numpy 2
_MAKERS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._tensor._rebuild_from_type_v2": _tensor_of_a_type,
    **dict.fromkeys(
        ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"), lambda tensor, *_: tensor
    ),
    "torch._utils._rebuild_sparse_tensor": lambda *_: TensorRecord("sparse", None),
    "torch._utils._rebuild_qtensor": lambda *_: TensorRecord("quantized", None),
    "torch._utils._rebuild_meta_tensor_no_storage": lambda *_: TensorRecord("on the meta device, without values", None),
    "torch._utils._rebuild_nested_tensor": lambda *_: TensorRecord("nested", None),
    "numpy.dtype": _number_type,
    **dict.fromkeys((f"{module}.multiarray._reconstruct" for module in _NUMPY), lambda *_: ArrayRecord()),
    **dict.fromkeys(
        (f"{module}.multiarray.scalar" for module in _NUMPY), lambda kind, data=b"": _array(data, kind, ())
    ),
    **dict.fromkeys(
        (f"{module}.numeric._frombuffer" for module in _NUMPY),
        lambda data, kind, shape, order="C": _array(data, kind, shape, columns_first=order == "F"),
    ),
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": lambda *_: {},
    "collections.Counter": _counted,
    **dict.fromkeys(("builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset"), plain_values),
    **dict.fromkeys(("builtins.complex", "__builtin__.complex"), complex),
    "torch.Size": tuple,
    "torch.device": lambda *parts: ":".join(map(str, parts)),
    "torch.serialization._get_layout": str,
    "_codecs.encode": _text,
}
