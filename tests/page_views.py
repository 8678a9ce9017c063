"""What the tests of the service's page share: a browser, or their skip; drawn people; photos given to a view."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("selenium", reason="the page is tested with selenium: pip install 'efq[dev]'")
from browser import Browser, missing_program
from selenium.webdriver.common.keys import Keys as Keys

IN_A_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_program()), reason=f"{missing_program()} is not installed"),
]
NAMES = ("Anna", "Бояна", "محمد بن عبد الله", "<img src=x onerror=alert(1)>", "Wilhelmine" * 20)
VIEWS = ("compare", "search", "people", "model")
Serve = Callable[..., str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """Two pictures of each of some people: files, and what is in them, (people, 2, 112, 112, 3)."""

    files: list[list[Path]]
    images: np.ndarray


def compare(browser: Browser, *files: Path) -> None:
    browser.give("compare-first", files[0])
    browser.give("compare-second", files[1])
    browser.click("#compare .primary")
