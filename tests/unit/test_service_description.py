"""The description of the API: what it says, and that the one that is kept is the one that is served."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest
from write_openapi import SNAPSHOT, text

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


@pytest.fixture(scope="module")
def snapshot() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    return found


def test_the_one_that_is_kept_is_the_one_that_is_served() -> None:
    """python tests/scripts/write_openapi.py writes it anew."""
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE))
    for package in ("fastapi", "pydantic"):
        installed = importlib.metadata.version(package)
        if installed != pinned.get(package, installed):
            pytest.skip(f"{package} {installed} writes schemas in its own way; the one that is kept is by another")
    assert text() == SNAPSHOT.read_text(encoding="utf-8")


def test_every_reference_is_there(snapshot: dict[str, Any]) -> None:
    referenced = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(snapshot)))
    assert referenced == set(snapshot["components"]["schemas"])


def test_every_operation_says_how_it_fails(snapshot: dict[str, Any]) -> None:
    operations = [one for methods in snapshot["paths"].values() for one in methods.values()]
    assert len(operations) >= 11
    for operation in operations:
        assert {"4XX", "5XX"} <= set(operation["responses"])
        assert operation["summary"]


def test_what_posts_say_of_their_bodies(snapshot: dict[str, Any]) -> None:
    for path in ("/v1/embeddings", "/v1/verify", "/v1/people", "/v1/search"):
        body = snapshot["paths"][path]["post"]["requestBody"]
        assert body["required"]
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert snapshot["components"]["schemas"][name]["additionalProperties"] is False


def test_it_loads_nothing_from_elsewhere(snapshot: dict[str, Any]) -> None:
    assert "http://" not in json.dumps(snapshot)
    assert "https://" not in json.dumps(snapshot)
