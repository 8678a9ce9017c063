"""Two photos are compared: the verdict, the threshold, the figures, and which answer is shown."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
from page_views import IN_A_BROWSER, Browser, Drawn, Keys, Serve, compare

from efq.runtime import Artifact

pytestmark = IN_A_BROWSER


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
