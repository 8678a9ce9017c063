"""Photos come from a camera, by dragging and pasting, and with faces that a detector finds."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from page_views import IN_A_BROWSER, Browser, Drawn, Serve, compare
from services import MemoryStore

from efq.runtime import read_image
from efq.runtime.detection import Detector

pytestmark = IN_A_BROWSER
ZOO, PHOTOS = os.environ.get("EFQ_ZOO"), os.environ.get("EFQ_PHOTOS")


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
