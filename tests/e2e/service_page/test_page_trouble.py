"""What the page may not do, and what it says when something is refused or away."""

from __future__ import annotations

from pathlib import Path

from page_views import IN_A_BROWSER, Browser, Drawn, Keys, Serve, compare

pytestmark = IN_A_BROWSER


def test_a_text_never_becomes_markup(browser: Browser, serve: Serve) -> None:
    """Nor does a script that found its way into the document run: the browser keeps to the policy."""
    browser.open(serve())
    browser.says("#summary", "tiny")
    made = """
        try { document.body.innerHTML = arguments[0]; return 'made' } catch (error) { return error.name }
    """
    assert browser.driver.execute_script(made, "<b>bold</b>") == "TypeError"
    put = """
        const script = document.createElement('script');
        try { script.text = 'window.ran = true'; document.body.append(script); } catch (error) { }
        return window.ran === undefined;
    """
    assert browser.driver.execute_script(put)
    assert len(browser.complaints()) >= 2


def test_the_key_is_asked_for_and_kept_in_the_tab(browser: Browser, serve: Serve, faces: Drawn) -> None:
    address = serve(keys=("right-key-0123456789",))
    browser.open(address)
    assert browser.shown("#key").aria_role == "dialog"
    assert browser.focused() == "Key"
    browser.press("wrong-key" + Keys.ENTER)
    browser.says("#key-problem", "API key")
    browser.press("right-key-0123456789" + Keys.ENTER)
    browser.says("#summary", "tiny")
    kept = browser.driver.execute_script("return [sessionStorage.length, localStorage.length, document.cookie]")
    assert kept == [1, 0, ""]
    browser.open(address)
    browser.says("#summary", "tiny")
    compare(browser, *faces.files[0])
    browser.says("#compare-result", "Similarity")
    browser.driver.execute_script("sessionStorage.clear()")
    browser.open(address)
    browser.shown("#key")
    browser.press(Keys.ESCAPE)
    browser.says("#unreachable", "API key", "Request", "Try again")
    browser.click("#unreachable button")
    browser.press("right-key-0123456789" + Keys.ENTER)
    browser.says("#compare-fmr", "1 in 10,000")
    browser.says("#summary", "tiny")


def test_errors_are_the_services_sentences(browser: Browser, serve: Serve, faces: Drawn, tmp_path: Path) -> None:
    broken, large, text = tmp_path / "broken.heic", tmp_path / "large.png", tmp_path / "text.txt"
    broken.write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 100)
    large.write_bytes(faces.files[0][0].read_bytes() + b"\0" * 3_000_000)
    text.write_text("no picture", encoding="utf-8")
    browser.open(serve())
    browser.says("#summary", "tiny")
    browser.click("#compare .primary")
    browser.says("#compare-problem", "First photo is missing")
    assert "First photo" in browser.focused()
    compare(browser, faces.files[0][0], broken)
    browser.says("#compare-problem", "HEIC", "the second photo", "Request")
    browser.says("#compare-second .no-preview", "HEIC")
    browser.give("compare-second", large)
    browser.says("#compare-second", "large.png", "3.0", "1.5")  # it is not sent
    browser.give("compare-second", text)
    browser.says("#compare-second", "no picture")
    browser.says("#compare-second .drop", "broken.heic")


def test_a_service_that_is_away_is_tried_again(browser: Browser, serve: Serve, faces: Drawn) -> None:
    browser.open(serve())
    browser.says("#summary", "tiny")
    with browser.network(offline=True):
        compare(browser, *faces.files[0])
        browser.says("#compare-problem", "cannot be reached")
    browser.click("#compare .primary")
    browser.says("#compare-result", "Similarity")
    assert browser.text("#compare-problem") == ""
    browser.driver.get_log("browser")
