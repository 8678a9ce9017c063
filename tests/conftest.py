"""Fixtures that several kinds of tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Tiny networks gain nothing from threads, and threads that spin while others compute make them ten times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is measured once a machine and remembered is not to be taken from, or left in, the user's own cache.
os.environ["EFQ_CACHE"] = tempfile.mkdtemp(prefix="efq-tests-cache-")

import hypothesis
import pytest
from artifacts import make_artifact

hypothesis.settings.register_profile("quick", max_examples=10)

atexit.register(shutil.rmtree, os.environ["EFQ_CACHE"], ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of these tests."""
    parser.addoption("--first-cases", action="store_true", help="Run each test once, with the first of its parameters.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `--first-cases` leaves out."""
    if not config.getoption("--first-cases"):
        return
    first = {item.nodeid.partition("[")[0]: item for item in reversed(items)}
    config.hook.pytest_deselected(items=[item for item in items if first[item.nodeid.partition("[")[0]] is not item])
    items[:] = [item for item in items if first[item.nodeid.partition("[")[0]] is item]


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """EFQ's cache, in this process and those it starts, away from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("EFQ_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def faces_root() -> Path:
    """The folder of real faces; the test is skipped where EFQ_FACES does not name it."""
    root = os.environ.get("EFQ_FACES")
    if not root:
        pytest.skip("EFQ_FACES is not set: this test needs real faces")
    if not Path(root).is_dir():
        pytest.fail(f"EFQ_FACES names {root}, which is no folder")
    return Path(root)


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny artifact that runs; tests must not change it."""
    return make_artifact(tmp_path_factory.mktemp("artifact") / "tiny")
