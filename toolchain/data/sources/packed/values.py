"""The few calls that Python and numpy write into a pickle for bytes and arrays: each as data, by its name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from efq.toolchain.data.sources.packed.spans import Span


class UnexpectedContentError(ValueError):
    """A pickle of something else; the message ends a sentence with "found"."""


@dataclasses.dataclass(frozen=True, slots=True)
class Name:
    """A function or a class that the pickle names; nothing is imported for it."""

    text: str


@dataclasses.dataclass(eq=False, slots=True)
class NumberType:
    """A numpy dtype of whole numbers or booleans by its code, such as u1; `order` of its bytes."""

    code: str
    order: str = "|"


@dataclasses.dataclass(eq=False, slots=True)
class Array:
    """A numpy array of one dimension, or a number (`shape` of none): its type and where its bytes are."""

    shape: tuple[int, ...] = (0,)
    type: NumberType | None = None
    data: Span | None = None


def known_name(text: str) -> Name:
    """Raises UnexpectedContentError for a function that is none of those below."""
    if text not in _CALLED and text not in _PASSED:
        message = f"the name {text[:100]!r}, which would be code and is not called"
        raise UnexpectedContentError(message)
    return Name(text)


def called(function: Any, arguments: Any, word: Callable[[Any], str]) -> Any:
    """What a call written into a pickle stands for; `word` gives the short text of a span.

    Raises UnexpectedContentError for a call of anything else.
    """
    maker = _CALLED.get(function.text) if isinstance(function, Name) else None
    if maker is None or not isinstance(arguments, tuple):
        message = f"a call of {function.text if isinstance(function, Name) else 'what is no function'}"
        raise UnexpectedContentError(message)
    return maker(word, *arguments)


def built(target: Any, state: Any, word: Callable[[Any], str]) -> None:
    """Give an array or a number type the state that follows it. Raises UnexpectedContentError for other objects."""
    if isinstance(target, NumberType) and isinstance(state, tuple):
        target.order = word(state[1])
    elif isinstance(target, Array) and isinstance(state, tuple):
        _, target.shape, target.type, _, target.data = state
        _check_array(target)
    else:
        message = "an object with a state"
        raise UnexpectedContentError(message)


def _check_array(array: Array) -> None:
    """One dimension at most: whether columns come first is then the same."""
    kind, data = array.type, array.data
    if not isinstance(kind, NumberType) or not isinstance(data, Span) or data.is_text:
        message = "a numpy array of other objects than numbers"
        raise UnexpectedContentError(message)
    shape = array.shape if isinstance(array.shape, tuple) else (array.shape,)
    if len(shape) > 1 or not all(type(size) is int and size >= 0 for size in shape):
        message = f"a numpy array of {len(shape)} dimensions: decoded pixels, where image files were expected"
        raise UnexpectedContentError(message)
    array.shape = shape


def _encoded(word: Callable[[Any], str], text: Any, encoding: Any) -> Span:
    if not isinstance(text, Span) or not text.is_text or word(encoding) not in ("latin1", "latin-1", "iso-8859-1"):
        message = "text encoded by something else than latin-1"
        raise UnexpectedContentError(message)
    return dataclasses.replace(text, is_text=False)


def _bytes(word: Callable[[Any], str], *arguments: Any) -> Span:
    if not arguments:
        return Span(0, 0)
    if len(arguments) == 2:
        return _encoded(word, *arguments)
    (data,) = arguments
    if not isinstance(data, Span) or data.is_text:
        message = "bytes made of something else"
        raise UnexpectedContentError(message)
    return data


def _number_type(word: Callable[[Any], str], code: Any, *_: Any) -> NumberType:
    found = word(code)
    if not re.fullmatch(r"b1|[iu][1248]", found):
        message = f"a numpy array of the type {found[:20]!r}, which is neither bytes nor labels"
        raise UnexpectedContentError(message)
    return NumberType(found)


def _empty_array(_: Callable[[Any], str], *__: Any) -> Array:
    return Array()


def _array(_: Callable[[Any], str], data: Any, kind: Any, shape: Any, *__: Any) -> Array:
    found = Array(shape=shape, type=kind, data=data)
    _check_array(found)
    return found


def _number(_: Callable[[Any], str], kind: Any, data: Any) -> Array:
    return _array(_, data, kind, ())


_NUMPY = ("numpy.core", "numpy._core")  # before and since numpy 2
_BUILT_IN = ("builtins", "__builtin__")  # Python 3 and 2
_CALLED: Mapping[str, Callable[..., Any]] = {
    "_codecs.encode": _encoded,
    "numpy.dtype": _number_type,
    **{f"{module}.{name}": _bytes for module in _BUILT_IN for name in ("bytes", "bytearray")},
    **{f"{module}.multiarray._reconstruct": _empty_array for module in _NUMPY},
    **{f"{module}.multiarray.scalar": _number for module in _NUMPY},
    **{f"{module}.numeric._frombuffer": _array for module in _NUMPY},
}
_PASSED = ("numpy.ndarray",)  # only as an argument
