"""LiteRT where it is missing or too old."""

from __future__ import annotations

import sys

import pytest
from messages import raises_naming

from efq.runtime.errors import MissingDependencyError
from efq.runtime.litert.module import LEAST_VERSION, import_litert, is_too_old


def test_without_it_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with raises_naming(MissingDependencyError, "LiteRT", "pip install 'efq[litert]'"):
        import_litert()


def test_versions_are_compared_by_number() -> None:
    major, minor = LEAST_VERSION
    assert not is_too_old(f"{major}.{minor}.0")
    assert not is_too_old(f"{major}.{minor + 10}.0")
    assert is_too_old(f"{major}.{minor - 1}.9")
    assert is_too_old("1.4.0")
