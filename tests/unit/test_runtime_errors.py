"""The tree of errors."""

from __future__ import annotations

from efq.runtime import errors
from efq.runtime.errors import EfqError, error_class


def test_every_error_is_found_by_its_name() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EfqError)}
    assert len(kinds) > 10
    assert {error_class(kind.__name__) for kind in kinds} == kinds


def test_a_name_of_no_error_is_an_error_all_the_same() -> None:
    assert error_class("KeyError") is EfqError
