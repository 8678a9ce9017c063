"""What a message has to say: facts (a path, a layer, an option, a number), in whatever words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TypeVar

import pytest

Kind = TypeVar("Kind", bound=BaseException)


def names(message: object, *facts: object) -> None:
    """Assert that an error or a text holds each fact as a word of its own: neither 8 in 18 nor trt in trt-rtx."""
    text = str(message)
    missing = [fact for fact in facts if not re.search(rf"(?<![\w-]){re.escape(str(fact))}(?![\w-])", text)]
    assert not missing, f"expected {', '.join(repr(str(fact)) for fact in missing)} in:\n{text}"


@contextlib.contextmanager
def raises_naming(kind: type[Kind], *facts: object) -> Iterator[pytest.ExceptionInfo[Kind]]:
    """Assert that the block raises `kind` and that its message names each fact."""
    with pytest.raises(kind) as caught:
        yield caught
    names(caught.value, *facts)
