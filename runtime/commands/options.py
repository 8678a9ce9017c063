"""The types that options of commands share, each with its range, and the door for options that would do nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from efq.runtime.errors import UsageError

_LONGEST_TEXT = 200
_MOST_COUNTS = 32


class FiniteFloat(click.FloatRange):
    """A number in a range: never nan, which compares with no bound, and never infinite."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        """Fails for anything else."""
        number = float(super().convert(value, param, context))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, context)
        return number


class PathName(click.Path):
    """A path, whatever is there; what uses it says what it expected."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        """Fails for an empty path, which would be the current folder, and for what no path can hold."""
        text = str(value)
        if not text.strip() or "\0" in text:
            self.fail(f"{text!r} is no path.", param, context)
        return super().convert(value, param, context)


class Text(click.types.StringParamType):
    """A line of text that says something, of at most `most` characters."""

    def __init__(self, most: int = _LONGEST_TEXT) -> None:
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        """Fails for text that is empty, longer or not printable."""
        text = str(value)
        if not text.strip() or len(text) > self._most or not text.isprintable():
            self.fail(f"{text[:50]!r} is no line of 1 to {self._most} printable characters.", param, context)
        return text


class Device(Text):
    """cpu, cuda, cuda:N, or what a target of another package calls its own."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        """Fails for what names no device; whether it is there is found out when it is used."""
        text = super().convert(value, param, context)
        if not re.fullmatch(r"cpu|(?!cpu:)[a-z][a-z0-9_]*(:[0-9]{1,3})?", text):
            self.fail(f"{text!r} is no device: expected cpu, cuda or cuda:N.", param, context)
        return text


PATH = PathName(path_type=Path)
TEXT = Text()
DEVICE = Device()
THREADS = click.IntRange(1, 1024)
SEED = click.IntRange(0, 2**32 - 1)
BATCH = click.IntRange(1, 4096)
IMAGES = click.IntRange(1, 100_000_000)


def parse_counts(text: str, option: str, *, most: int) -> tuple[int, ...]:
    """ "1,8,32" as numbers, each once, in the order given.

    Raises UsageError for anything but integers from 1 to `most`, 32 of them or fewer.
    """
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if part.isdecimal() and part.isascii() and len(part) <= len(str(most))]
    if len(numbers) != len(parts) or not all(1 <= number <= most for number in numbers) or len(parts) > _MOST_COUNTS:
        message = (
            f"expected positive integers up to {most}, separated by commas, after {option} (such as 1,8,32), "
            f"found {text[:100]!r}"
        )
        raise UsageError(message)
    return tuple(dict.fromkeys(numbers))


def refuse_unused(parameters: Collection[str], why: str) -> None:
    """Raise UsageError where one of `parameters` was given on the command line though it does nothing, and `why`.

    Those are options that cannot have an effect beside the others or with what they were given for. Permissions
    (--force, --resize, ...) are none of them: whether one is needed is found out by the work.
    """
    context = click.get_current_context()
    given = [
        max(parameter.opts, key=len)
        for parameter in context.command.params
        if parameter.name in parameters and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        message = f"{' and '.join(given)} {'do' if len(given) > 1 else 'does'} nothing {why}: leave it out"
        raise UsageError(message)
