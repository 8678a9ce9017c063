"""One photo is searched among enrolled people, where there is a gallery."""

from __future__ import annotations

import numpy as np
import pytest
from page_views import IN_A_BROWSER, NAMES, Browser, Drawn, Serve
from services import MemoryStore

pytestmark = IN_A_BROWSER


def test_a_photo_is_searched_among_names_of_any_kind(
    browser: Browser, serve: Serve, faces: Drawn, embeddings: np.ndarray, enrolled: MemoryStore
) -> None:
    best = (embeddings @ embeddings[0, 0]).max(axis=1)
    order = np.argsort(-best)
    threshold = float(best[order[1]] + best[order[2]]) / 2
    browser.open(serve(gallery=enrolled, thresholds=((1e-4, threshold),)) + "#search", width=360)
    browser.says("#summary", "tiny")
    browser.give("search-photo", faces.files[0][0])
    browser.click("#search .primary")
    browser.says("#search-result", "Match: Anna", "ms")
    assert [each.text for each in browser.all(".matches .name bdi")] == [NAMES[place] for place in order]
    words = [each.text for each in browser.all(".matches .note")]
    assert words == ["Above the threshold"] * 2 + ["Not above the threshold"] * 3
    assert browser.overflow() == 0
    assert not browser.all(".matches img")  # a name is text
    for name in NAMES:
        enrolled.remove(name)
    browser.click("#search .primary")
    browser.says("#search-result", "Nobody is enrolled")


@pytest.mark.parametrize("view", ["search", "people"])
def test_without_a_gallery_it_says_why(browser: Browser, serve: Serve, view: str) -> None:
    address = serve()
    browser.open(f"{address}#{view}")
    assert "without a gallery" in browser.shown(f"#{view}-off").text
    assert not [each for each in browser.all(f"#view-{view} form") if each.is_displayed()]
    browser.driver.get(f"{address}#model")
    browser.says("#model", "search and people are off")
