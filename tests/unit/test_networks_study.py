"""The study of networks tried: its factories, a row, the table; the page that it is in names every backbone."""

from __future__ import annotations

from pathlib import Path

import pytest

from efq.benchmarks.studies.networks_study import Trial, table, try_network
from efq.runtime.errors import UsageError
from efq.toolchain.backbones import backbone_names, find_backbone

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
LIBRARY = "efq.benchmarks.studies.library_networks"


def test_every_named_network_is_in_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in backbone_names() if f"`{name}`" not in text] == []


def test_networks_of_libraries_are_factories() -> None:
    found = find_backbone(f"{LIBRARY}:timm_resnet18")
    assert (found.name, found.size, found.mean[0]) == (f"{LIBRARY}:timm_resnet18", (112, 112), 123.675)
    for name in ("keras_resnet50", "timm"):
        with pytest.raises(UsageError):
            find_backbone(f"{LIBRARY}:{name}")


def test_rows_of_a_network_that_is_taken_and_of_one_that_is_not() -> None:
    taken = try_network(Trial(group="tests", name="teacher", backbone="networks:teacher_network"))
    assert "message" not in taken
    assert (taken["integer_share"], taken["embedding"], taken["islands"]) == (1.0, 16, [])
    assert taken["artifact_cosine"] > 0.999
    assert taken["student_cosine"] > 0.9
    refused = try_network(Trial(group="tests", name="exit", backbone="networks:missing"))
    lines = table([refused, taken]).splitlines()
    assert [line.split("|")[1].strip() for line in lines[3:]] == ["teacher", "exit"]
    assert " yes " in lines[3]
    assert " no " in lines[4]
