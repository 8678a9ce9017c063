"""Markup of an HTML page, built so that tags close and no text becomes a tag.

`Html` is text that is markup already. Everything else enters through `text` or an attribute, which escape it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import NewType

Html = NewType("Html", str)

_VOID = frozenset({"br", "hr", "img", "link", "meta"})
_SHORT = 4  # columns
_SHAPES = frozenset({"circle", "line", "path", "rect"})
_NOTHING = Html("")
_NO_BREAK = "\N{NO-BREAK SPACE}"
_WHITE = re.compile(rf"[^\S{_NO_BREAK}]+")


def text(value: str) -> Html:
    r"""Text that shows what is in it: escaped, white space as one space, other unprintable letters as \uNNNN.

    So a name can neither become markup nor turn the direction of the line that it stands in, and a lone surrogate
    cannot keep the page from being UTF-8.
    """
    return Html(html.escape(_visible(value), quote=False))


def name(value: str) -> Html:
    """Text that somebody else chose, such as a file or a cohort; its direction of writing stays its own."""
    return element("bdi", text(value))


def code(value: str) -> Html:
    """A command, digest or key, as it was."""
    return element("code", text(value))


def element(tag: str, *content: Html, **attributes: str | float) -> Html:
    """An element; `class_` is its class, `aria_label` its aria-label. Void elements and shapes take no content."""
    opening = tag + "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_visible(str(value)))}"'
        for key, value in attributes.items()
    )
    if tag in _VOID:
        return Html(f"<{opening}>")
    if tag in _SHAPES:
        return Html(f"<{opening}/>")
    return Html(f"<{opening}>{''.join(content)}</{tag}>")


def join(parts: Iterable[Html], separator: Html = _NOTHING) -> Html:
    """Pieces of markup, one after another."""
    return Html(separator.join(parts))


def small(*lines: Html) -> Html:
    """Lines below a figure in a cell: its interval, what it means."""
    return join(element("small", line) for line in lines if line)


def paragraph(*content: Html, class_: str = "") -> Html:
    """A paragraph."""
    return element("p", *content, class_=class_) if class_ else element("p", *content)


def table(key: str, caption: Html, header: Sequence[Html], rows: Sequence[Sequence[Html]]) -> Html:
    """A table whose first column names its rows, in a box that scrolls sideways by itself where it is too wide.

    `key` is the table's id in the page. Tables of up to four columns are no wider than they need to be.
    """
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows
    ]
    caption = element("caption", caption, id=f"{key}-caption")
    width = {"class_": "short"} if len(header) <= _SHORT else {}
    whole = element("table", caption, element("thead", head), element("tbody", *body), id=key, **width)
    return element("div", whole, class_="scroll", role="group", tabindex=0, aria_labelledby=f"{key}-caption")


def headings(*words: str) -> list[Html]:
    """Headings of columns; a unit behind a comma stays on the line of its word."""
    return [text(word.replace(", %", f",{_NO_BREAK}%")) for word in words]


def definitions(rows: Sequence[tuple[Html, Html]]) -> Html:
    """A list of terms and what they are."""
    return element("dl", *(element("div", element("dt", term), element("dd", value)) for term, value in rows))


def section(key: str, title: Html, *content: Html) -> Html:
    """A section of the page, with its heading; `key` is its id."""
    heading = element("h2", title, id=f"{key}-title")
    return element("section", heading, *content, id=key, aria_labelledby=f"{key}-title")


def details(summary: str, about: str, *content: Html) -> Html:
    """What opens on demand; `about` tells it from others of the same `summary` where these are read out alone."""
    return element("details", element("summary", text(summary), aria_label=f"{summary}: {about}"), *content)


def _visible(value: str) -> str:
    line = _WHITE.sub(" ", value)
    return "".join(letter if letter.isprintable() or letter == _NO_BREAK else _escaped(letter) for letter in line)


def _escaped(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"
