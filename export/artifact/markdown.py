"""Markdown of texts that strangers chose: shown as they are, never a link, a heading, HTML or a cell of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"[\\`*\[\]<>|~$@&]|(?<!\w)_|_(?!\w)")
_ADDRESS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
_BARE_PIPE = re.compile(r"(?<!\\)\|")


def plain(value: object) -> str:
    """On one line, with a backslash before what Markdown, GitHub or Hugging Face would take for more than a letter."""
    return _ADDRESS.sub(r"\\\g<0>", _MARKUP.sub(r"\\\g<0>", _line(value)))


def code(value: object) -> str:
    """On one line between backticks."""
    return f"`{_line(value).replace('`', chr(39))}`"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Of cells that are Markdown."""
    lines = [header, ["---"] * len(header), *([_BARE_PIPE.sub(r"\|", cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _line(value: object) -> str:
    line = " ".join(str(value).split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
