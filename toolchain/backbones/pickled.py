"""What a pickle of torch's holds, read off its instructions: nothing in it is called, no tensor is made.

A file of a few bytes can ask for a tensor of a terabyte, or for a list of lists that is endless when written out. What
`read_pickle` returns holds neither: it is looked at before torch opens the same bytes (`torch_file`).
"""

from __future__ import annotations

import dataclasses
import io
import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

MOST_VALUES = 4_000_000  # of a pickle, counted as often as they are referred to
DEEPEST = 100
_PROTOCOL = 3  # torch.save writes 2
_LONGEST_PLACE = 100
_WIDTHS = {
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Char", "Byte", "Bool", "QInt8", "QUInt8", "QUInt4x2", "QUInt2x4", "Untyped"), 1),
    "ComplexDouble": 16,
}


class PickleContentError(ValueError):
    """A pickle that no torch.save of plain values and tensors wrote; the message ends a sentence with "found"."""


def refuse(found: str) -> NoReturn:
    """Raises PickleContentError."""
    raise PickleContentError(found)


@dataclasses.dataclass(frozen=True)
class Name:
    """A function or class the pickle names."""

    text: str


@dataclasses.dataclass(frozen=True)
class StorageRecord:
    """Memory in the file: `key` its record's name, of so many bytes."""

    key: str
    bytes: int
    width: int


@dataclasses.dataclass(frozen=True)
class TensorRecord:
    """A tensor to be made. `kind` is "" for one that is memory with sizes and steps, else what it is instead."""

    kind: str
    storage: StorageRecord | None
    shape: tuple[int, ...] = ()

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def read_pickle(file: io.BytesIO) -> Any:
    """The value of the pickle that begins where `file` stands: plain values, dicts, lists and records.

    Raises PickleContentError for instructions, names or sizes that torch's own files do not have.
    """
    try:
        return _Machine().run(file)
    except (ValueError, LookupError, TypeError, AttributeError, struct.error, OverflowError, RecursionError) as error:
        if isinstance(error, PickleContentError):
            raise
        message = "a pickle that breaks off or is damaged"
        raise PickleContentError(message) from error


def tensors_of(content: Any) -> Iterator[tuple[str, TensorRecord]]:
    """The records of tensors in `content` by the keys that lead to them, long ones shortened, each dict and list once.

    Raises PickleContentError for values nested or repeated beyond all bounds.
    """
    _check_extent(content)
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", content)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, TensorRecord):
            yield place if len(place) <= _LONGEST_PLACE else f"{place[:_LONGEST_PLACE]}...", value
        if isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend((f"{place}.{key}" if place else str(key), item) for key, item in _items(value))


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else list(enumerate(value))


def _check_extent(content: Any) -> None:
    """Count every value as often as a walk would meet it; a walk that meets itself again never ends."""
    sizes: dict[int, int] = {}
    depths: dict[int, int] = {}
    open_: set[int] = set()
    waiting: list[tuple[Any, bool]] = [(content, False)]
    while waiting:
        value, leaving = waiting.pop()
        if not isinstance(value, dict | list | tuple) or id(value) in sizes:
            continue
        inner = [item for _, item in _items(value)]
        if not leaving:
            if id(value) in open_:
                refuse("a list or dictionary that contains itself")
            open_.add(id(value))
            waiting.append((value, True))
            waiting.extend((item, False) for item in inner)
            continue
        open_.discard(id(value))
        sizes[id(value)] = 1 + sum(sizes.get(id(item), 1) for item in inner)
        depths[id(value)] = 1 + max((depths.get(id(item), 0) for item in inner), default=0)
        if sizes[id(value)] > MOST_VALUES or depths[id(value)] > DEEPEST:
            refuse(f"more than {MOST_VALUES:,} values, or values nested more than {DEEPEST} deep")


class _Machine:
    """The stack that a pickle's instructions work on (pickletools documents them)."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: io.BytesIO) -> Any:
        for operation, argument, _ in pickletools.genops(file):
            handler = _INSTRUCTIONS.get(operation.name)
            if handler is None:
                refuse(f"a pickle with the instruction {operation.name}, which torch.save does not write")
            handler(self, argument)
            if operation.name == "STOP":
                break
        return self.stack.pop()

    def taken(self) -> list[Any]:
        """What lies above the last mark."""
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def take_tuple(self, count: int) -> None:
        found = tuple(self.stack[-count:])
        if len(found) < count:
            refuse("a pickle that breaks off or is damaged")
        self.stack[-count:] = [found]

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[_plain_key(key)] = value

    def append(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            refuse("a pickle that breaks off or is damaged")
        self.stack[-1].extend(values)

    def reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack.pop()
        self.stack.append(_called(function, arguments))

    def build(self) -> None:
        """A state on top of an object: torch's dictionaries keep their `_metadata` so; it is left out."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict | TensorRecord):
            refuse("an object with a state, which is code")

    def refuse_object(self) -> None:
        kind = self.stack[-2]
        refuse(_as_code(kind.text if isinstance(kind, Name) else "a class"))

    def check_protocol(self, protocol: int) -> None:
        if protocol > _PROTOCOL:
            refuse(f"a pickle of protocol {protocol}; leave out pickle_protocol of torch.save")

    def persistent(self) -> None:
        self.stack.append(_storage(self.stack.pop()))


def _as_code(name: str) -> str:
    return f"an object of {name}, which would be code; save the network's model.state_dict() alone"


def _plain_key(key: Any) -> Any:
    if not isinstance(key, str | int | float | bytes | None):
        refuse(f"a dictionary with a key that is no name but {type(key).__name__}")
    return key


def _storage(identity: Any) -> StorageRecord:
    """("storage", its class, its record's key, a device, how many elements), as torch.save names memory."""
    kind, owner, key, _, count = identity[:5]
    name = owner.text.rpartition(".")[2] if isinstance(owner, Name) else ""
    width = _WIDTHS.get(name.removesuffix("Storage"))
    if kind != "storage" or width is None or not isinstance(key, str) or type(count) is not int or count < 0:
        refuse("memory that torch.save does not name so")
    return StorageRecord(key, count * width, width)


def _called(function: Any, arguments: Any) -> Any:
    name = function.text if isinstance(function, Name) else type(function).__name__
    maker = _MAKERS.get(name)
    if maker is None or not isinstance(arguments, tuple):
        refuse(_as_code(name))
    return maker(*arguments)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> TensorRecord:
    whole = [offset, *size, *stride]
    if not isinstance(storage, StorageRecord) or not all(type(value) is int and value >= 0 for value in whole):
        refuse("a tensor without memory, sizes and steps")
    reach = sum((count - 1) * step for count, step in zip(size, stride, strict=True)) + 1 if all(size) else 0
    if (offset + reach) * storage.width > storage.bytes:
        refuse(f"a tensor of {tuple(size)} that reaches beyond its memory of {storage.bytes:,} bytes")
    return TensorRecord("", storage, tuple(size))


def _tensor_of_a_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """A tensor with attributes of its own, which are left out."""
    return _called(function, arguments)


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    return {_plain_key(key): value for key, value in pairs}


def _counted(values: Any = ()) -> dict[Any, Any]:
    return {_plain_key(key): value for key, value in dict(values).items()}


def _set(values: Any = ()) -> list[Any]:
    return [_plain_key(value) for value in values]


def _text(value: Any, *_: Any) -> bytes:
    return str(value).encode("latin1")


_MAKERS: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys((f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3")), _tensor),
    "torch._tensor._rebuild_from_type_v2": _tensor_of_a_type,
    **dict.fromkeys(
        ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"), lambda tensor, *_: tensor
    ),
    "torch._utils._rebuild_sparse_tensor": lambda *_: TensorRecord("sparse", None),
    "torch._utils._rebuild_qtensor": lambda *_: TensorRecord("quantized", None),
    "torch._utils._rebuild_meta_tensor_no_storage": lambda *_: TensorRecord("on the meta device, without values", None),
    "torch._utils._rebuild_nested_tensor": lambda *_: TensorRecord("nested", None),
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counted,
    **dict.fromkeys(("builtins.set", "__builtin__.set"), _set),
    **dict.fromkeys(("builtins.complex", "__builtin__.complex"), complex),
    "torch.Size": tuple,
    "torch.device": lambda *parts: ":".join(map(str, parts)),
    "torch.serialization._get_layout": str,
    "_codecs.encode": _text,
}

_PUSHED = (*("BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1", "BINUNICODE", "SHORT_BINSTRING"),)
_INSTRUCTIONS: Mapping[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda machine, argument: machine.check_protocol(argument),
    "STOP": lambda machine, argument: None,
    **dict.fromkeys(("NEWOBJ", "OBJ", "INST"), lambda machine, argument: machine.refuse_object()),
    **dict.fromkeys(_PUSHED, lambda machine, argument: machine.stack.append(argument)),
    "NONE": lambda machine, argument: machine.stack.append(None),
    "NEWTRUE": lambda machine, argument: machine.stack.append(True),
    "NEWFALSE": lambda machine, argument: machine.stack.append(False),
    "EMPTY_DICT": lambda machine, argument: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, argument: machine.stack.append([]),
    "EMPTY_SET": lambda machine, argument: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, argument: machine.stack.append(()),
    "MARK": lambda machine, argument: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, argument: machine.stack.append(tuple(machine.taken())),
    "TUPLE1": lambda machine, argument: machine.take_tuple(1),
    "TUPLE2": lambda machine, argument: machine.take_tuple(2),
    "TUPLE3": lambda machine, argument: machine.take_tuple(3),
    "APPEND": lambda machine, argument: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, argument: machine.append(machine.taken()),
    "ADDITEMS": lambda machine, argument: machine.append(_set(machine.taken())),
    "SETITEM": lambda machine, argument: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, argument: machine.set_items(machine.taken()),
    "GLOBAL": lambda machine, argument: machine.stack.append(Name(argument.replace(" ", "."))),
    "REDUCE": lambda machine, argument: machine.reduce(),
    "BUILD": lambda machine, argument: machine.build(),
    "BINPERSID": lambda machine, argument: machine.persistent(),
    **dict.fromkeys(
        ("BINPUT", "LONG_BINPUT"), lambda machine, argument: machine.memo.__setitem__(argument, machine.stack[-1])
    ),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, argument: machine.stack.append(machine.memo[argument])),
}
