"""Every view by the keyboard alone, in windows of every width, in the dark, and for screen readers."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from page_views import IN_A_BROWSER, NAMES, VIEWS, Browser, Drawn, Keys, Serve, compare
from services import MemoryStore

pytestmark = IN_A_BROWSER
AXE = os.environ.get("EFQ_AXE")
SIZES = ((360, False), (360, True), (820, False), (1600, True))
CONTROLS = {"button", "link", "textbox", "combobox", "checkbox", "spinbutton", "DisclosureTriangle", "searchbox"}
FOCUS_IS_SEEN = """
    const drawn = (each) => each && getComputedStyle(each).outlineStyle !== 'none'
        && getComputedStyle(each).outlineWidth !== '0px';
    const active = document.activeElement;
    if (active === document.body) return true;
    return drawn(active) && !active.classList.contains('unseen') || drawn(active.nextElementSibling);
"""
AXE_RUN = """
    const done = arguments[0];
    const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    axe.run(document, {runOnly: rules}).then((found) => done(
        found.violations.map(({id, nodes}) => [id, ...nodes.map(({html}) => html)])));
"""


def test_it_is_used_by_the_keyboard_alone(browser: Browser, serve: Serve, faces: Drawn, enrolled: MemoryStore) -> None:
    browser.open(serve(gallery=enrolled))
    browser.says("#summary", "tiny")
    browser.give("compare-first", faces.files[0][0])
    browser.give("compare-second", faces.files[0][0])
    browser.driver.execute_script("document.activeElement.blur()")
    names = []
    for _ in range(13):
        browser.press(Keys.TAB)
        names.append(browser.focused())
        assert browser.driver.execute_script(FOCUS_IS_SEEN), names[-1]
    wanted = ["Skip", "Compare", "Search", "People", "Model", "First photo", "Remove: First", "Second photo"]
    wanted += ["Remove: Second", "False matches", "Compare", "What the percentage means"]
    assert [name for name, words in zip(names, wanted, strict=False) if words not in name] == []
    browser.press(Keys.SHIFT + Keys.TAB)
    for _ in range(12):
        if browser.focused() == "Compare":
            break
        browser.press(Keys.SHIFT + Keys.TAB)
    browser.press(Keys.ENTER)
    browser.says("#compare-result", "100.0")
    assert browser.focused() == "Compare"  # still there
    browser.one("nav a[href='#people']").send_keys(Keys.ENTER)
    browser.says("#people-count", "5 people")
    assert browser.focused() == "Enrolled people"
    assert browser.driver.title.startswith("People")
    browser.driver.back()
    browser.shown("#compare-result .outcome")  # what was there is there
    assert browser.one("nav a[aria-current]").text == "Compare"


@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_nothing_is_wider_than_the_window(
    browser: Browser, serve: Serve, faces: Drawn, enrolled: MemoryStore, width: int, dark: bool
) -> None:
    browser.open(serve(gallery=enrolled), width=width, dark=dark)
    browser.says("#summary", "tiny")
    compare(browser, *faces.files[0])
    browser.says("#compare-result", "Similarity")
    background = browser.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(18, 22, 27)" if dark else "rgb(255, 255, 255)")
    for view in VIEWS:
        browser.one(f"nav a[href='#{view}']").click()
        browser.shown(f"#view-{view}")
        if view == "search":
            browser.give("search-photo", faces.files[1][0])
            browser.click("#search .primary")
            browser.says("#search-result", "ms")
        if view == "people":
            browser.says("#people-count", "5 people")
        assert browser.overflow() == 0, view
    browser.one("nav a[href='#people']").click()
    browser.click("#people-list li:last-child button")
    box = browser.shown("#confirm").rect
    assert 0 <= box["x"] <= box["x"] + box["width"] <= width
    browser.press(Keys.ESCAPE)


@pytest.mark.parametrize("view", VIEWS)
def test_a_screen_reader_is_told_everything(
    browser: Browser, serve: Serve, faces: Drawn, enrolled: MemoryStore, view: str
) -> None:
    browser.open(serve(gallery=enrolled) + f"#{view}")
    browser.says("#summary", "tiny")
    if view == "compare":
        compare(browser, *faces.files[0])
        browser.says("#compare-result", "Similarity")
    if view == "search":
        browser.give("search-photo", faces.files[1][0])
        browser.click("#search .primary")
        browser.says("#search-result", "ms")
    if view == "people":
        browser.says("#people-count", "5 people")
    nodes = browser.tree()
    assert [node for node in nodes if node.role in CONTROLS and not node.name.strip()] == []
    assert [node for node in nodes if node.role == "image" and not node.name.strip()] == []
    assert {"banner", "navigation", "main", "contentinfo", "status"} <= {node.role for node in nodes}
    headings = [node for node in nodes if node.role == "heading"]
    levels = [node.properties["level"] for node in headings]
    assert levels[:2] == [1, 2]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    names = [node.name for node in headings]
    if view == "compare":
        assert names[-1] in ("Match", "No match")
        assert [node.name for node in nodes if node.role == "image"] == [
            "First photo, aligned",
            "Second photo, aligned",
        ]
    if view == "people":
        assert {f"Delete {name}" for name in NAMES} <= {node.name for node in nodes if node.role == "button"}


@pytest.mark.skipif(not AXE, reason="needs the file axe.min.js of axe-core in EFQ_AXE")
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(browser: Browser, serve: Serve, faces: Drawn, enrolled: MemoryStore, dark: bool) -> None:
    browser.open(serve(gallery=enrolled), dark=dark)
    browser.says("#summary", "tiny")
    browser.driver.execute_script(Path(str(AXE)).read_text(encoding="utf-8"))
    for view in VIEWS:
        browser.one(f"nav a[href='#{view}']").click()
        if view == "compare":
            compare(browser, *faces.files[0])
            browser.says("#compare-result", "Similarity")
        if view == "search":
            browser.give("search-photo", faces.files[1][0])
            browser.click("#search .primary")
            browser.says("#search-result", "ms")
        if view == "people":
            browser.says("#people-count", "5 people")
            browser.click("#enroll .primary")
            browser.says("#enroll-problem", "name")
        assert browser.driver.execute_async_script(AXE_RUN) == []
