"""An HTML page as a browser would take it apart, and what a page of one file has to be."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

VOID = {"br", "hr", "img", "input", "link", "meta"}
REFERENCES = ("aria-labelledby", "aria-describedby", "for", "headers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Element:
    """A tag with its attributes and all the text in it."""

    tag: str
    attributes: dict[str, str]
    words: list[str]
    inside: tuple[str, ...]

    @property
    def text(self) -> str:
        """With single spaces."""
        return " ".join("".join(self.words).split())


class Page(HTMLParser):
    """Every element of a page in the order of its opening tags. Fails on tags that do not nest."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(content)
        self.close()
        assert not self._open, f"not closed: {[element.tag for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"an attribute twice in <{tag}>: {names}"
        inside = tuple(element.tag for element in self._open)
        element = Element(tag=tag, attributes={name: value or "" for name, value in attrs}, words=[], inside=inside)
        if tag == "small":
            self.handle_data(" ")
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        assert self._open.pop().tag == tag

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> that closes nothing"
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.words.append(data)

    def all(self, tag: str) -> list[Element]:
        """Every element of that tag."""
        return [element for element in self.elements if element.tag == tag]

    def with_id(self, key: str) -> Element:
        """The one with this id."""
        (found,) = (element for element in self.elements if element.attributes.get("id") == key)
        return found

    def table(self, key: str) -> list[list[str]]:
        """A table's rows of cells, its head first; a cell is its text, with lines below a figure after a space."""
        start = self.elements.index(self.with_id(key))
        rows: list[list[str]] = []
        depth = len(self.elements[start].inside)
        for element in self.elements[start + 1 :]:
            if len(element.inside) <= depth:
                break
            if element.tag == "tr":
                rows.append([])
            elif element.tag in ("th", "td"):
                rows[-1].append(element.text)
        return rows


def expect_one_file(content: str, *, pictures: bool = False) -> Page:
    """Parse a page and check that it nests, runs and loads nothing, and that what refers to something finds it."""
    page = Page(content)
    identities = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(set(identities)) == len(identities)
    assert not page.all("script")
    for element in page.elements:
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in ("src", "href", "action", "data", "srcset", "poster", "xlink:href"):
                allowed = value.startswith("#") or (pictures and value.startswith("data:image/"))
                assert allowed, f"{name} of <{element.tag}> leads out: {value[:80]}"
            if name in REFERENCES:
                assert set(value.split()) <= set(identities)
            if name == "href":
                assert value[1:] in identities
    assert "http://" not in content
    assert "https://" not in content
    _expect_policy(page, content)
    return page


def _expect_policy(page: Page, content: str) -> None:
    """The content security policy allows the page's one style sheet, by its digest, and no script."""
    (policy,) = (
        element.attributes["content"]
        for element in page.all("meta")
        if element.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    (style,) = re.findall(r"<style>(.*?)</style>", content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
