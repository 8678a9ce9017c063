"""The document around a page: one file that loads nothing, runs nothing and sends nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from efq.benchmarks.pages.markup import Html, element, text


def document(title: str, *body: Html, style: str = "", images: bool = False) -> str:
    """A whole HTML page: `style` is CSS that follows the shared sheet; `images` lets it hold pictures as data URIs.

    Its content security policy allows this style sheet, by its SHA-256, and those pictures: no script, no address.
    """
    sheet = resources.files("efq.benchmarks.pages").joinpath("style.css").read_text(encoding="utf-8") + style
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    if images:
        policy += "; img-src data:"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", text(title)),
        Html(f"<style>{sheet}</style>"),
    )
    return "<!DOCTYPE html>\n" + element("html", head, element("body", *body), lang="en") + "\n"
