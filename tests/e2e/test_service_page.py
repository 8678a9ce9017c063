"""The service's page in headless Chromium, on drawn faces: what people do with it, and what it may not do."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from artifacts import make_artifact
from services import MemoryStore

from efq.benchmarks.drawn_faces.dataset import identity_of
from efq.benchmarks.drawn_faces.renderer import draw_face
from efq.benchmarks.drawn_faces.view import random_view
from efq.runtime import Artifact, Embedder, read_image
from efq.runtime.detection import Detector
from efq.runtime.gallery.models import model_of

pytest.importorskip("selenium", reason="the page is tested with selenium: pip install 'efq[dev]'")
from browser import Browser, browsing, missing_program
from page_service import serving
from selenium.webdriver.common.keys import Keys

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_program()), reason=f"{missing_program()} is not installed"),
]

NAMES = ("Anna", "Бояна", "محمد بن عبد الله", "<img src=x onerror=alert(1)>", "Wilhelmine" * 20)
SIZES = ((360, False), (360, True), (820, False), (1600, True))
WITHIN = ("about:", "blob:", "chrome://", "data:")  # no host: the last page of the browser itself is among them
CONTROLS = {"button", "link", "textbox", "combobox", "checkbox", "spinbutton", "DisclosureTriangle", "searchbox"}
Serve = Callable[..., str]
ZOO, PHOTOS, AXE = os.environ.get("EFQ_ZOO"), os.environ.get("EFQ_PHOTOS"), os.environ.get("EFQ_AXE")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """Two pictures of each of some people: files, and what is in them, (people, 2, 112, 112, 3)."""

    files: list[list[Path]]
    images: np.ndarray


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    folder = tmp_path_factory.mktemp("faces")
    files, images = [], []
    for person in range(len(NAMES)):
        identity, generator = identity_of(person, seed=11)
        images.append([draw_face(identity, random_view(generator, 0.4)) for _ in range(2)])
        files.append([folder / f"{person}-{view}.png" for view in range(2)])
        for file, image in zip(files[-1], images[-1], strict=True):
            cv2.imwrite(str(file), image[..., ::-1])
    return Drawn(files=files, images=np.array(images))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, browsing(Path(folder)) as opened:
        yield opened


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def embeddings(artifact: Path, faces: Drawn) -> np.ndarray:
    """Of each picture, float32 (people, 2, d)."""
    with Embedder.open(artifact, threads=1) as embedder:
        return embedder.embed(faces.images.reshape(-1, 112, 112, 3)).reshape(len(NAMES), 2, -1)


@pytest.fixture
def store(artifact: Path) -> MemoryStore:
    """Nobody yet."""
    return MemoryStore(model_of(Artifact.open(artifact)))


@pytest.fixture
def enrolled(store: MemoryStore, embeddings: np.ndarray) -> MemoryStore:
    for name, rows in zip(NAMES, embeddings, strict=True):
        store.enroll(name, rows)
    return store


@pytest.fixture
def serve(artifact: Path, browser: Browser) -> Iterator[Serve]:
    """Starts the service, as `serving` does. Afterwards: the page asked nobody else, and complained of nothing."""
    browser.complaints()
    browser.requests()
    served = []
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> str:
            served.append(stack.enter_context(serving(Embedder.open(artifact, threads=1), **options)))
            return served[-1]

        yield start
        requests = browser.requests()
        assert [url for url in requests if not url.startswith((*served, *WITHIN))] == []
        # A status that is no success is always in the console; it is of the service, and shown by the page.
        assert [line for line in browser.complaints() if "/v1/" not in line or "responded with" not in line] == []


def compare(browser: Browser, *files: Path) -> None:
    browser.give("compare-first", files[0])
    browser.give("compare-second", files[1])
    browser.click("#compare .primary")


def test_two_photos_are_compared(
    browser: Browser, serve: Serve, artifact: Path, faces: Drawn, embeddings: np.ndarray
) -> None:
    similarity = float(embeddings[0, 0] @ embeddings[0, 1])
    browser.open(serve(thresholds=((1e-3, similarity - 0.05), (1e-4, similarity + 0.05))))
    browser.says("#summary", "tiny", Artifact.open(artifact).checksums["model.onnx"][:12], "no detector")
    compare(browser, *faces.files[0])
    browser.says("#compare-result", "No match", f"{100 * similarity:.1f}", "not above", "1 in 10,000", "ms")
    browser.says("#announcement", "No match", f"{100 * similarity:.1f}")
    shown = [image.get_attribute("src") for image in browser.all("#compare-result img")]
    crops = [cv2.imdecode(np.frombuffer(base64.b64decode(src.split(",")[1]), np.uint8), 1) for src in shown]
    np.testing.assert_array_equal(np.array(crops)[..., ::-1], faces.images[0])
    asked = len([url for url in browser.requests() if url.endswith("/v1/verify")])
    browser.one("#compare-fmr").send_keys("1 in 1,000 ")
    browser.says("#compare-result", "Match", ", above", "1 in 1,000")
    assert asked == 1
    assert [url for url in browser.requests() if "/v1/" in url] == []  # it is the same answer, decided again


def test_a_threshold_of_ones_own(browser: Browser, serve: Serve, faces: Drawn) -> None:
    address = serve(thresholds=())
    browser.open(address)
    browser.says("#summary", "tiny")
    compare(browser, *faces.files[0])
    browser.says("#compare-problem", "threshold is missing")
    assert "Threshold" in browser.focused()
    browser.press("99.5" + Keys.ENTER)
    browser.says("#compare-result", "No match", "99.5", "no false match rate is known")
    compare(browser, faces.files[0][0], faces.files[0][0])
    browser.says("#compare-result", "Match", "100.0")
    browser.driver.get(f"{address}#model")
    browser.says("#model", "No threshold is certified")


def test_figures_that_round_alike_are_told_apart(browser: Browser, serve: Serve) -> None:
    browser.open(serve())
    script = """
        const done = arguments[arguments.length - 1];
        import('/page/format.js').then((format) => done([
            format.percent(-0.00001), format.percent(-0.034), format.percents(0.31004, 0.31), format.percents(0.5, 0.5),
            format.oneIn(1e-4), format.rate(1e-4), format.rate(0.05), format.milliseconds(4.25), format.bytes(2.5e6),
            format.plural(1, 'face', 'faces'), format.day('no day')]))
    """
    assert [
        str(each).replace("\xa0", " ") if isinstance(each, str) else [text.replace("\xa0", " ") for text in each]
        for each in browser.driver.execute_async_script(script)
    ] == [
        *("0.0 %", "−3.4 %", ["31.004 %", "31.000 %"], ["50.0 %", "50.0 %"]),  # noqa: RUF001
        *("1 in 10,000", "1e-4", "5e-2", "4.3 ms", "2.5 MB", "1 face", "no day"),
    ]


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


@pytest.mark.parametrize("view", ["search", "people"])
def test_without_a_gallery_it_says_why(browser: Browser, serve: Serve, view: str) -> None:
    address = serve()
    browser.open(f"{address}#{view}")
    assert "without a gallery" in browser.shown(f"#{view}-off").text
    assert not [each for each in browser.all(f"#view-{view} form") if each.is_displayed()]
    browser.driver.get(f"{address}#model")
    browser.says("#model", "search and people are off")


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


def test_an_answer_for_photos_that_were_replaced_is_not_shown(browser: Browser, serve: Serve, faces: Drawn) -> None:
    browser.open(serve())
    browser.says("#summary", "tiny")
    with browser.network(latency=700):
        compare(browser, *faces.files[0])
        browser.says("#compare .primary", "Comparing")
        browser.give("compare-second", faces.files[1][0])
        browser.one("#compare .primary").click()  # while it is asked
        browser.says("#compare .primary", "Compare")
    assert browser.text("#compare-result") == ""
    assert len([url for url in browser.requests() if url.endswith("/v1/verify")]) == 1
    browser.click("#compare .primary")
    browser.says("#compare-result", "Similarity")


def test_a_phone_takes_photos(browser: Browser, serve: Serve) -> None:
    browser.open(serve(), width=360, height=700)
    browser.says("#summary", "tiny")
    assert not browser.one("#compare-first .camera").is_displayed()
    browser.resize(360, 700, phone=True)
    assert "Take a photo" in browser.shown("#compare-first .camera").text
    camera = browser.one("#compare-first input[capture]")
    assert (camera.get_attribute("capture"), camera.get_attribute("accept")) == ("user", "image/*")
    assert "First photo" in camera.accessible_name
    assert browser.overflow() == 0


def test_photos_are_dropped_and_pasted(browser: Browser, serve: Serve, faces: Drawn) -> None:
    browser.open(serve())
    browser.says("#summary", "tiny")
    script = """
        const [kind, where, names, data] = arguments;
        const transfer = new DataTransfer();
        for (const name of names) {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], name, {type: 'image/png'}));
        }
        const event = kind === 'paste'
            ? new ClipboardEvent(kind, {clipboardData: transfer, bubbles: true, cancelable: true})
            : new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true});
        document.querySelector(where).dispatchEvent(event);
        return event.defaultPrevented;
    """
    data = base64.b64encode(faces.files[0][0].read_bytes()).decode()
    assert browser.driver.execute_script(script, "drop", "#compare-first .drop", ["one.png", "two.png"], data)
    browser.says("#compare-first", "one.png")
    browser.says("#compare-second", "two.png")
    browser.click("#compare-first .clear")
    assert "First photo" in browser.focused()
    assert browser.driver.execute_script(script, "paste", "body", ["pasted.png"], data)
    browser.says("#compare-first", "pasted.png")
    assert browser.driver.execute_script(script, "drop", "h2", ["beside.png"], data)  # the browser does not leave
    browser.says("#compare-second", "beside.png")
    browser.click("#compare .primary")
    browser.says("#compare-result", "100.0")


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


FOCUS_IS_SEEN = """
    const drawn = (each) => each && getComputedStyle(each).outlineStyle !== 'none'
        && getComputedStyle(each).outlineWidth !== '0px';
    const active = document.activeElement;
    if (active === document.body) return true;
    return drawn(active) && !active.classList.contains('unseen') || drawn(active.nextElementSibling);
"""


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
    for view in ("compare", "search", "people", "model"):
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


@pytest.mark.parametrize("view", ["compare", "search", "people", "model"])
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
    for view in ("compare", "search", "people", "model"):
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


AXE_RUN = """
    const done = arguments[0];
    const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    axe.run(document, {runOnly: rules}).then((found) => done(
        found.violations.map(({id, nodes}) => [id, ...nodes.map(({html}) => html)])));
"""


@pytest.mark.skipif(not (ZOO and PHOTOS), reason="needs the files of EFQ_ZOO and EFQ_PHOTOS")
def test_photos_with_a_detector(browser: Browser, serve: Serve, store: MemoryStore) -> None:
    photos = sorted((Path(str(PHOTOS)) / "images").rglob("*.jpg"))
    detector = Detector.open(Path(str(ZOO)) / "scrfd_2.5g_bnkps.onnx", threads=1)
    counted = {photo: len(detector.detect(read_image(photo))) for photo in photos[:12]}
    group = max(counted, key=lambda photo: counted[photo])
    browser.open(serve(detector=detector, gallery=store, body_bytes=16_000_000))
    browser.says("#summary", "detector SCRFD")
    compare(browser, group, group)
    browser.says("#compare-result", "Match", "100.0", "Second photo has", "the largest was taken")
    assert len(browser.all("#compare-result img")) == 2
    browser.one("nav a[href='#people']").click()
    browser.says("#people-count", "Nobody")
    browser.give("enroll-photos", group)
    browser.one("#enroll-name").send_keys("one of many")
    browser.click("#enroll-consent")
    browser.click("#enroll .primary")
    browser.says("#enroll-problem", "single face", group.name)
    assert store.size().people == 0
