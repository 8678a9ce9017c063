"""What a pickle holds, read off its instructions: nothing in it is called, no tensor is made.

A file of a few bytes can ask for a tensor of a terabyte, or for a list of lists that is endless when written out. What
`read_pickle` returns holds neither, once `records_of` has walked it.
"""

from __future__ import annotations

import dataclasses
import io
import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any

from efq.toolchain.checkpoints.pickled_values import built, called, plain_key, plain_values, storage_of
from efq.toolchain.checkpoints.records import Foreign, Name, PickleContentError, StorageRecord, refuse


@dataclasses.dataclass(frozen=True)
class Pickled:
    """`content` and the memory it names.

    foreign: what in it stands for an object of another's class, or is left out, in words.
    """

    content: Any
    foreign: tuple[str, ...]
    storages: tuple[StorageRecord, ...]


def read_pickle(file: io.BytesIO) -> Pickled:
    """The pickle that begins where `file` stands, of protocol 2 or later: plain values, dicts, lists and records.

    Raises PickleContentError for one that breaks off, or whose sizes are none.
    """
    machine = _Machine()
    try:
        return Pickled(machine.run(file), tuple(machine.foreign), tuple(machine.storages))
    except (ValueError, LookupError, TypeError, AttributeError, struct.error, OverflowError, RecursionError) as error:
        if isinstance(error, PickleContentError):
            raise
        message = "a pickle that breaks off or is damaged"
        raise PickleContentError(message) from error


class _Machine:
    """The stack that a pickle's instructions work on (pickletools documents them)."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.foreign: dict[str, None] = {}
        self.storages: dict[StorageRecord, None] = {}

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
        items = target.items if isinstance(target, Foreign) else target
        if not isinstance(items, dict):
            refuse("a pickle that breaks off or is damaged")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if plain_key(key):
                items[key] = value
            else:
                self.foreign[f"a dictionary with a key that is no name but {type(key).__name__}"] = None

    def append(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], Foreign):
            return
        if type(self.stack[-1]) is not list:
            refuse("a pickle that breaks off or is damaged")
        self.stack[-1].extend(values)

    def add(self, values: list[Any]) -> None:
        plain = plain_values(values)
        if len(plain) < len(values):
            self.foreign["a set of objects"] = None
        self.append(plain)

    def reduce(self) -> None:
        arguments = self.stack.pop()
        self.push(called(self.stack.pop(), arguments))

    def build(self) -> None:
        state = self.stack.pop()
        self.push(built(self.stack.pop(), state))

    def new(self, kind: Any) -> None:
        self.push(Foreign(kind.text if isinstance(kind, Name) else "a class"))

    def new_below(self, arguments: int) -> None:
        del self.stack[-arguments:]
        self.new(self.stack.pop())

    def new_above(self, kind: Name) -> None:
        self.taken()
        self.new(kind)

    def name(self) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Name(f"{module}.{attribute}"))

    def push(self, value: Any) -> None:
        if isinstance(value, Foreign):
            self.foreign[_as_code(value.name)] = None
        self.stack.append(value)

    def persistent(self) -> None:
        found = storage_of(self.stack.pop())
        if isinstance(found, StorageRecord):
            self.storages[found] = None
        self.stack.append(found)


def _as_code(name: str) -> str:
    return f"an object of {name[:100]}, which would be code; save the network's model.state_dict() alone"


_PUSHED = (
    *("BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1", "LONG4", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_INSTRUCTIONS: Mapping[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, argument: None),
    **dict.fromkeys(_PUSHED, lambda machine, argument: machine.stack.append(argument)),
    "NONE": lambda machine, argument: machine.stack.append(None),
    "NEWTRUE": lambda machine, argument: machine.stack.append(True),
    "NEWFALSE": lambda machine, argument: machine.stack.append(False),
    "EMPTY_DICT": lambda machine, argument: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, argument: machine.stack.append([]),
    "EMPTY_SET": lambda machine, argument: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, argument: machine.stack.append(()),
    "MARK": lambda machine, argument: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, argument: machine.stack.pop(),
    "POP_MARK": lambda machine, argument: machine.taken(),
    "TUPLE": lambda machine, argument: machine.stack.append(tuple(machine.taken())),
    "TUPLE1": lambda machine, argument: machine.take_tuple(1),
    "TUPLE2": lambda machine, argument: machine.take_tuple(2),
    "TUPLE3": lambda machine, argument: machine.take_tuple(3),
    "FROZENSET": lambda machine, argument: machine.stack.append(plain_values(machine.taken())),
    "APPEND": lambda machine, argument: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, argument: machine.append(machine.taken()),
    "ADDITEMS": lambda machine, argument: machine.add(machine.taken()),
    "SETITEM": lambda machine, argument: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, argument: machine.set_items(machine.taken()),
    "GLOBAL": lambda machine, argument: machine.stack.append(Name(argument.replace(" ", "."))),
    "STACK_GLOBAL": lambda machine, argument: machine.name(),
    "NEWOBJ": lambda machine, argument: machine.new_below(1),
    "NEWOBJ_EX": lambda machine, argument: machine.new_below(2),
    "OBJ": lambda machine, argument: machine.new(machine.taken()[0]),
    "INST": lambda machine, argument: machine.new_above(Name(argument.replace(" ", "."))),
    "REDUCE": lambda machine, argument: machine.reduce(),
    "BUILD": lambda machine, argument: machine.build(),
    "BINPERSID": lambda machine, argument: machine.persistent(),
    "MEMOIZE": lambda machine, argument: machine.memo.__setitem__(len(machine.memo), machine.stack[-1]),
    **dict.fromkeys(
        ("BINPUT", "LONG_BINPUT"), lambda machine, argument: machine.memo.__setitem__(argument, machine.stack[-1])
    ),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, argument: machine.stack.append(machine.memo[argument])),
}
