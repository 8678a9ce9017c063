"""Where in a pickle bytes lie, and how they are written there: an image is read when it is asked for."""

from __future__ import annotations

import codecs
import dataclasses
import enum
from typing import BinaryIO

LONGEST = 64 * 2**20
"""Bytes of one image, as they lie in the file: an aligned face has 10 kB."""


class Coding(enum.Enum):
    """How a pickle writes bytes, or the text that becomes bytes by latin-1: characters 0 to 255."""

    RAW = "as they are"
    UTF_8 = "text in UTF-8"
    ESCAPED_TEXT = "a line of text, of which Unicode escapes are written \\uXXXX"
    ESCAPED = "a line in quotes, with Python's escapes"


class BrokenPickleError(ValueError):
    """A pickle that ends early, or whose sizes are none; the message ends a sentence with "found"."""


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes of a file from `offset` on; `is_text` as long as nothing has made bytes of it."""

    offset: int
    length: int
    coding: Coding = Coding.RAW
    is_text: bool = False

    def read(self, file: BinaryIO, *, limit: int = LONGEST) -> bytes:
        """The bytes that are meant. Raises BrokenPickleError where there are more, or fewer, or no such text."""
        if self.length > limit:
            message = f"{self.length:,} bytes in one piece, more than the {limit:,} that are read"
            raise BrokenPickleError(message)
        file.seek(self.offset)
        written = file.read(self.length)
        if len(written) < self.length:
            message = "a file that ends early"
            raise BrokenPickleError(message)
        try:
            return _decoded(written, self.coding)
        except ValueError as error:
            message = f"bytes that are not what they are said to be, {self.coding.value}"
            raise BrokenPickleError(message) from error


def _decoded(written: bytes, coding: Coding) -> bytes:
    if coding is Coding.RAW:
        return written
    if coding is Coding.UTF_8:
        return written.decode("utf-8").encode("latin-1")
    if coding is Coding.ESCAPED_TEXT:
        return written.decode("raw-unicode-escape").encode("latin-1")
    if len(written) < 2 or written[:1] != written[-1:] or written[:1] not in b"'\"":
        message = "no quotes"
        raise ValueError(message)
    return codecs.escape_decode(written[1:-1])[0]
