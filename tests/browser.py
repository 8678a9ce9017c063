"""A headless Chromium, driven as a person would: what it shows, asks for, complains of and tells a screen reader."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 20.0
"""Seconds that anything may take to show up: of two busy cores."""


def missing_program() -> str:
    """What is not installed of a browser and its driver, empty for nothing."""
    if not any(map(shutil.which, BROWSERS)):
        return "Chromium"
    return "" if shutil.which("chromedriver") else "chromedriver"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """What a screen reader is told of an element."""

    role: str
    name: str
    properties: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Browser:
    """One window."""

    driver: webdriver.Chrome

    def open(self, address: str, *, width: int = 1100, height: int = 900, dark: bool = False) -> None:
        """A page in a window of that size, in CSS pixels, with nothing kept of earlier ones."""
        self.resize(width, height)
        self.command(
            "Emulation.setEmulatedMedia", features=[_feature("prefers-color-scheme", "dark" if dark else "light")]
        )
        self.driver.get("about:blank")
        self.driver.get(address)

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """A phone is touched, not pointed at."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        self.command("Emulation.setTouchEmulationEnabled", enabled=phone, maxTouchPoints=1)

    @contextlib.contextmanager
    def network(self, **conditions: float) -> Iterator[None]:
        """A network without a connection (`offline`), or one that is slow (`latency`, milliseconds), meanwhile."""
        usual = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.command("Network.emulateNetworkConditions", **(usual | conditions))
        try:
            yield
        finally:
            self.command("Network.emulateNetworkConditions", **usual)

    def command(self, name: str, **values: Any) -> dict[str, Any]:
        """A command of the Chrome DevTools Protocol."""
        return self.driver.execute_cdp_cmd(name, values)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def shown(self, selector: str) -> WebElement:
        """The first such element that is shown, waited for."""
        wait = WebDriverWait(self.driver, PATIENCE, poll_frequency=0.05)
        found: WebElement = wait.until(
            lambda _: next((each for each in self.all(selector) if each.is_displayed()), None), f"nothing is {selector}"
        )
        return found

    def says(self, selector: str, *words: str) -> str:
        """The text of an element, once it has all those words."""
        wait = WebDriverWait(self.driver, PATIENCE, poll_frequency=0.05)
        wait.until(
            lambda _: all(word in self.text(selector) for word in words),
            f"{selector} does not say {words}",
        )
        return self.text(selector)

    def text(self, selector: str) -> str:
        """What is written in the elements, as it is in the document, with single spaces."""
        script = "return [...document.querySelectorAll(arguments[0])].map(each => each.textContent).join(' ')"
        return " ".join(str(self.driver.execute_script(script, selector)).split())

    def click(self, selector: str) -> None:
        self.shown(selector).click()

    def give(self, place: str, *files: Path) -> None:
        """Choose files in the place for photos that has this id."""
        self.one(f"#{place} > input[type=file]").send_keys("\n".join(map(str, files)))

    def press(self, keys: str) -> None:
        """On the keyboard, for what has the focus; Shift is held where it comes first."""
        held = keys[0] == Keys.SHIFT
        chain = ActionChains(self.driver)
        if held:
            chain.key_down(Keys.SHIFT).send_keys(keys[1:]).key_up(Keys.SHIFT).perform()
        else:
            chain.send_keys(keys).perform()

    def focused(self) -> str:
        """The accessible name of what has the focus."""
        return self.driver.switch_to.active_element.accessible_name

    def overflow(self) -> int:
        """Pixels that the page is wider than the window."""
        script = "const root = document.documentElement; return root.scrollWidth - root.clientWidth"
        return int(self.driver.execute_script(script))

    def tree(self) -> list[Node]:
        """What is told to a screen reader, in the order of reading, without what is left out for it."""
        nodes = self.command("Accessibility.getFullAXTree")["nodes"]
        children = {node["nodeId"]: node.get("childIds", []) for node in nodes}
        order, waiting = [], [nodes[0]["nodeId"]]
        while waiting:
            order.append(waiting.pop())
            waiting += reversed(children.get(order[-1], []))
        places = {identity: place for place, identity in enumerate(order)}
        nodes = sorted((node for node in nodes if node["nodeId"] in places), key=lambda node: places[node["nodeId"]])
        return [
            Node(
                role=node["role"]["value"],
                name=node.get("name", {}).get("value", ""),
                properties={each["name"]: each["value"].get("value") for each in node.get("properties", ())},
            )
            for node in nodes
            if not node.get("ignored")
        ]

    def complaints(self) -> list[str]:
        """What the console says since this was asked last."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses asked for since this was asked last."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        size = self.command("Page.getLayoutMetrics")["cssContentSize"]
        width = self.driver.execute_script("return innerWidth")
        self.resize(width, int(size["height"]))
        self.driver.save_screenshot(str(path))


@contextlib.contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser whose profile and caches lie in `folder`."""
    options = Options()
    options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--lang=en-GB"):
        options.add_argument(argument)
    options.add_argument("--disable-background-networking")
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver=driver)
    finally:
        driver.quit()


def _feature(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}
