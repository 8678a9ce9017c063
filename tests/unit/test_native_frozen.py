"""Frozen records: what they share with dataclasses of that kind."""

from __future__ import annotations

import dataclasses

import pytest
from messages import raises_naming

from efq.runtime.native.frozen import frozen


@frozen
class Base:
    """Of one field."""

    name: str


@frozen
class Window(Base):
    """Of a subclass, with defaults."""

    size: int = 3
    places: list[int] = dataclasses.field(default_factory=list)


def test_fields_are_given_by_name_or_by_default() -> None:
    window = Window(name="a", size=2)
    assert (window.name, window.size, window.places) == ("a", 2, [])
    assert Window(name="a").places is not Window(name="a").places
    assert repr(window) == "Window(name='a', size=2, places=[])"


def test_they_are_compared_by_identity() -> None:
    first, second = Window(name="a"), Window(name="a")
    assert first != second
    assert len({first, second}) == 2


def test_they_cannot_be_changed() -> None:
    window = Window(name="a")
    with raises_naming(dataclasses.FrozenInstanceError, "'size'"):
        window.size = 4  # type: ignore[misc]
    with raises_naming(dataclasses.FrozenInstanceError, "'name'"):
        del window.name
    assert dataclasses.replace(window, size=4).size == 4
    assert [field.name for field in dataclasses.fields(window)] == ["name", "size", "places"]  # type: ignore[arg-type]


def test_fields_that_lack_and_that_there_are_not() -> None:
    with raises_naming(TypeError, "Window", "name"):
        Window(size=3)  # type: ignore[call-arg]
    with raises_naming(TypeError, "Window", "side"):
        Window(name="a", side=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Window("a")  # type: ignore[misc]
