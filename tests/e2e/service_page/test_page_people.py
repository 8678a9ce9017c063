"""People are enrolled, listed and deleted."""

from __future__ import annotations

import numpy as np
from page_views import IN_A_BROWSER, Browser, Drawn, Keys, Serve
from services import MemoryStore

pytestmark = IN_A_BROWSER


def test_people_are_enrolled_with_consent_only(
    browser: Browser, serve: Serve, faces: Drawn, store: MemoryStore
) -> None:
    browser.open(serve(gallery=store) + "#people")
    browser.says("#people-count", "Nobody is enrolled yet")
    for problem, focused, mend in (
        ("name", "Name", lambda: browser.press("Anna ")),
        ("Photos", "Photos of one person", lambda: browser.give("enroll-photos", *faces.files[0])),
        ("consent", "agreed", lambda: browser.press(Keys.SPACE)),
    ):
        browser.click("#enroll .primary")
        browser.says("#enroll-problem", problem)
        assert focused in browser.focused()
        assert store.size().people == 0
        mend()
    browser.click("#enroll .primary")
    browser.says("#enroll-done", "Anna", "2 faces")
    browser.says("#announcement", "Enrolled Anna")
    assert len(browser.all("#enroll-done img[alt='Face 2, aligned']")) == 1
    browser.says("#people-list", "Anna", "2 faces", "since")
    assert [(person.name, person.faces) for person in store.people()] == [("Anna", 2)]
    assert not browser.one("#enroll-consent").is_selected()  # the next person is asked again


def test_people_are_listed_in_pages_and_deleted_after_a_question(
    browser: Browser, serve: Serve, store: MemoryStore, embeddings: np.ndarray
) -> None:
    people = sorted(f"{name}/{place:02d}" for place in range(22) for name in ("ann", "<b>é", "ن"))
    for name in people:
        store.enroll(name, embeddings[0, :1])
    browser.open(serve(gallery=store) + "#people")
    browser.says("#people-count", "50 people", "more below")
    browser.click("#people-more")
    browser.says("#people-count", "66 people")
    assert [each.text for each in browser.all("#people-list bdi")] == people
    assert browser.focused() == f"Delete {people[50]}"
    assert not browser.one("#people-more").is_displayed()
    victim, heir = people[:2]
    browser.click("#people-list button")
    browser.says("#confirm-text", victim, "cannot be undone")
    assert browser.focused() == "Keep"
    browser.press(Keys.ESCAPE)
    assert not browser.one("#confirm").is_displayed()
    assert browser.focused() == f"Delete {victim}"
    assert store.faces_of(victim)
    browser.press(Keys.ENTER)
    browser.click("#confirm-yes")
    browser.says("#announcement", f"Deleted {victim}")
    assert browser.focused() == f"Delete {heir}"
    assert not store.faces_of(victim)
    browser.says("#people-count", "65 people")
    browser.shown("#people-start").send_keys("ن/2" + Keys.ENTER)
    browser.says("#people-count", "2 people shown")
    assert [each.text for each in browser.all("#people-list bdi")] == people[-2:]
    browser.one("#people-start").send_keys("~" + Keys.ENTER)
    browser.says("#people-count", "Nobody from that name on")


def test_a_list_starts_at_a_name(browser: Browser, serve: Serve) -> None:
    browser.open(serve())
    script = """
        const [names, done] = [arguments[0], arguments[1]];
        import('/page/people_list.js').then(({before}) => done(names.map((name) => before(name))));
    """
    names = ["a", "ab", "é", "ن", "\U0001f600", "\ue000", "a!", "", "b\uffff"]
    found = browser.driver.execute_async_script(script, names)
    for name, start in zip(names, found, strict=True):
        assert start < name or start == name == ""
        others = [other for other in (*names, "aa", "a ", "ay", "ê", "\ud7fe") if start < other < name]
        assert others == []
