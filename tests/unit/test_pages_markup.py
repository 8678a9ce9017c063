"""Markup of pages: nothing that somebody else wrote becomes a tag, an attribute or another direction."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from html_pages import Page, expect_one_file
from hypothesis import given
from hypothesis import strategies as st

from efq.benchmarks.pages.document import document
from efq.benchmarks.pages.markup import element, headings, join, name, section, small, table, text

ANYTHING = st.text(st.characters(codec=None), max_size=40)  # lone surrogates, too


class _Words(HTMLParser):
    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.words, self.tags = "", 0
        self.feed(content)
        self.close()

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags += 1


@given(ANYTHING)
def test_any_text_stays_text_that_can_be_read_and_written(value: str) -> None:
    found = _Words(text(value))
    assert found.tags == 0
    assert all(letter.isprintable() or letter == "\xa0" for letter in found.words)
    found.words.encode("utf-8")
    if value.isprintable():
        assert found.words == value


@given(ANYTHING, ANYTHING)
def test_any_text_stays_within_its_attribute_and_element(value: str, other: str) -> None:
    page = Page(element("p", name(value), title=other))
    assert [found.tag for found in page.elements] == ["p", "bdi"]
    assert set(page.elements[0].attributes) == {"title"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a & b", "a &amp; b"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\x00\x1b[31m", "\\u0000\\u001b[31m"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("one\n\ttwo", "one two"),
        ("5\xa0%", "5\xa0%"),
        ("\u0645\u0631\u062d\u0628\u0627", "\u0645\u0631\u062d\u0628\u0627"),
    ],
)
def test_what_cannot_be_seen_is_written_out(value: str, shown: str) -> None:
    assert text(value) == shown


def test_a_table_names_its_rows_columns_and_itself() -> None:
    rows = [(text("one"), join([text("1.00"), small(text("0.5 to 1.5"), text(""))])), (name("two"), text("2"))]
    page = Page(table("figures", text("Figures"), headings("Name", "Found, %"), rows))
    assert page.table("figures") == [["Name", "Found, %"], ["one", "1.00 0.5 to 1.5"], ["two", "2"]]
    scopes = [found.attributes.get("scope") for found in page.all("th")]
    assert scopes == ["col", "col", "row", "row"]
    (box,) = page.all("div")
    assert page.with_id(box.attributes["aria-labelledby"]).text == "Figures"
    assert box.attributes["tabindex"] == "0"
    assert len(page.all("small")) == 1  # an empty line is none


def test_a_document_allows_its_own_style_and_nothing_else() -> None:
    body = section("one", text("Title"), element("p", text("</style><script>alert(1)</script>")))
    page = expect_one_file(document("A < B", body, style="p { color: red }"))
    (title,) = page.all("title")
    assert title.text == "A < B"
    assert page.all("html")[0].attributes["lang"] == "en"
    (policy,) = (found.attributes["content"] for found in page.all("meta") if "http-equiv" in found.attributes)
    assert "img-src" not in policy
    assert "img-src data:" in document("A", images=True)
