"""The instructions of a pickle, protocols 0 to 5, carried out as far as lists of bytes and labels need it.

What they build is lists, tuples, whole numbers, booleans, and spans of the file where its bytes and its text lie; the
few calls in `values` stay data. Every other instruction, and every other name, ends it. A file has at most
`MOST_INSTRUCTIONS`, of which each makes at most one value, so that memory is bounded whatever the file says.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from efq.toolchain.data.sources.packed.spans import LONGEST, BrokenPickleError, Coding, Span
from efq.toolchain.data.sources.packed.values import UnexpectedContentError, built, called, known_name

MOST_INSTRUCTIONS = 2_000_000  # LFW's 6,000 pairs take 70,000 in the longest protocol
_LONGEST_LINE = LONGEST
_LONGEST_NAME = 100
_WHOLE = re.compile(rb"-?[0-9]{1,18}L?")


def carry_out(file: BinaryIO, size: int) -> Any:
    """The value that the pickle in `file`, of `size` bytes, describes.

    Raises BrokenPickleError for one that breaks off, UnexpectedContentError for one that holds anything else.
    """
    machine = _Machine(file, size)
    try:
        return machine.run()
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, BrokenPickleError | UnexpectedContentError):
            raise
        message = "a pickle that is damaged"
        raise BrokenPickleError(message) from error


class _Machine:
    """The stack that the instructions work on (pickletools documents them)."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MOST_INSTRUCTIONS):
            code = self.file.read(1)
            if code == b".":
                return self.stack.pop()
            handler = _INSTRUCTIONS.get(code)
            if handler is None:
                raise _unexpected(code)
            handler(self)
        message = f"a pickle of more than {MOST_INSTRUCTIONS:,} instructions"
        raise UnexpectedContentError(message)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def number(self, width: int, *, signed: bool = False) -> int:
        raw = self.file.read(width)
        if len(raw) < width:
            raise _ends_early()
        return int.from_bytes(raw, "little", signed=signed)

    def line(self) -> bytes:
        raw = self.file.readline(_LONGEST_LINE)
        if not raw.endswith(b"\n"):
            raise _ends_early()
        return raw[:-1]

    def whole(self) -> int:
        """The number on a line."""
        raw = self.line()
        if not _WHOLE.fullmatch(raw):
            message = f"the number {raw[:20]!r}"
            raise BrokenPickleError(message)
        return int(raw.removesuffix(b"L"))

    def span(self, width: int, coding: Coding = Coding.RAW, *, is_text: bool = False) -> None:
        """Bytes behind their length, which are passed over."""
        length = self.number(width)
        start = self.file.tell()
        if length > self.size - start:
            raise _ends_early()
        self.file.seek(start + length)
        self.push(Span(start, length, coding, is_text))

    def span_of_line(self, coding: Coding, *, is_text: bool = False) -> None:
        start = self.file.tell()
        self.push(Span(start, len(self.line()), coding, is_text))

    def word(self, value: Any) -> str:
        """The text of a short span; empty for what is none."""
        if not isinstance(value, Span):
            return ""
        place = self.file.tell()
        try:
            return value.read(self.file, limit=_LONGEST_NAME).decode("latin-1")
        finally:
            self.file.seek(place)

    def integer_or_truth(self) -> None:
        """Protocols 0 and 1 write truth as the numbers 00 and 01."""
        raw = self.line()
        if raw in (b"00", b"01"):
            self.push(raw == b"01")
        elif _WHOLE.fullmatch(raw):
            self.push(int(raw.removesuffix(b"L")))
        else:
            message = f"the number {raw[:20]!r}"
            raise BrokenPickleError(message)

    def long(self) -> None:
        width = self.number(1)
        if width > 8:
            message = f"a number of {width} bytes"
            raise UnexpectedContentError(message)
        self.push(self.number(width, signed=True))

    def protocol(self) -> None:
        found = self.number(1)
        if found > 5:
            message = f"a pickle of protocol {found}"
            raise UnexpectedContentError(message)

    def taken(self) -> list[Any]:
        """What lies above the last mark."""
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def take_tuple(self, count: int) -> None:
        found = tuple(self.stack[-count:])
        if len(found) < count:
            raise _ends_early()
        self.stack[-count:] = [found]

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            message = "a pickle that is damaged"
            raise BrokenPickleError(message)
        target.extend(values)

    def name(self, module: str, attribute: str) -> None:
        self.push(known_name(f"{module}.{attribute}"))

    def name_on_lines(self) -> None:
        module, attribute = self.line(), self.line()
        self.name(module[:_LONGEST_NAME].decode("latin-1"), attribute[:_LONGEST_NAME].decode("latin-1"))

    def name_on_stack(self) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        self.name(self.word(module), self.word(attribute))

    def reduce(self) -> None:
        arguments = self.stack.pop()
        self.push(called(self.stack.pop(), arguments, self.word))

    def build(self) -> None:
        state = self.stack.pop()
        built(self.stack[-1], state, self.word)

    def keep(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def recall(self, place: int) -> None:
        self.push(self.memo[place])


def _ends_early() -> BrokenPickleError:
    return BrokenPickleError("a pickle that breaks off")


def _unexpected(code: bytes) -> UnexpectedContentError | BrokenPickleError:
    if not code:
        return _ends_early()
    known = pickletools.code2op.get(code.decode("latin-1"))  # type: ignore[attr-defined]
    if known is None:
        return BrokenPickleError("a pickle that is damaged")
    return UnexpectedContentError(f"the pickle's instruction {known.name}, which no list of bytes and labels needs")


_INSTRUCTIONS: Mapping[bytes, Callable[[_Machine], object]] = {
    b"\x80": _Machine.protocol,
    b"\x95": lambda machine: machine.number(8),  # FRAME: a hint for buffers
    b"(": lambda machine: machine.marks.append(len(machine.stack)),
    b"0": lambda machine: machine.stack.pop(),
    b"1": _Machine.taken,
    b"2": lambda machine: machine.push(machine.stack[-1]),
    b"N": lambda machine: machine.push(None),
    b"\x88": lambda machine: machine.push(True),
    b"\x89": lambda machine: machine.push(False),
    b"I": _Machine.integer_or_truth,
    b"J": lambda machine: machine.push(machine.number(4, signed=True)),
    b"K": lambda machine: machine.push(machine.number(1)),
    b"M": lambda machine: machine.push(machine.number(2)),
    b"L": lambda machine: machine.push(machine.whole()),
    b"\x8a": _Machine.long,
    b"S": lambda machine: machine.span_of_line(Coding.ESCAPED),
    b"T": lambda machine: machine.span(4),
    b"U": lambda machine: machine.span(1),
    b"B": lambda machine: machine.span(4),
    b"C": lambda machine: machine.span(1),
    b"\x8e": lambda machine: machine.span(8),
    b"\x96": lambda machine: machine.span(8),
    b"V": lambda machine: machine.span_of_line(Coding.ESCAPED_TEXT, is_text=True),
    b"X": lambda machine: machine.span(4, Coding.UTF_8, is_text=True),
    b"\x8c": lambda machine: machine.span(1, Coding.UTF_8, is_text=True),
    b"\x8d": lambda machine: machine.span(8, Coding.UTF_8, is_text=True),
    b"]": lambda machine: machine.push([]),
    b"l": lambda machine: machine.push(machine.taken()),
    b"a": lambda machine: machine.append([machine.stack.pop()]),
    b"e": lambda machine: machine.append(machine.taken()),
    b")": lambda machine: machine.push(()),
    b"t": lambda machine: machine.push(tuple(machine.taken())),
    b"\x85": lambda machine: machine.take_tuple(1),
    b"\x86": lambda machine: machine.take_tuple(2),
    b"\x87": lambda machine: machine.take_tuple(3),
    b"c": _Machine.name_on_lines,
    b"\x93": _Machine.name_on_stack,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
    b"p": lambda machine: machine.keep(machine.whole()),
    b"q": lambda machine: machine.keep(machine.number(1)),
    b"r": lambda machine: machine.keep(machine.number(4)),
    b"\x94": lambda machine: machine.keep(len(machine.memo)),
    b"g": lambda machine: machine.recall(machine.whole()),
    b"h": lambda machine: machine.recall(machine.number(1)),
    b"j": lambda machine: machine.recall(machine.number(4)),
}
