"""The files of the service's page: how they are sent, and what they may not hold."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from html_pages import Page

from efq.runtime.gallery.gallery import LONGEST_NAME
from efq.runtime.service.page.assets import CONTENT_SECURITY_POLICY, CONTENT_TYPES, INDEX, read_assets
from efq.runtime.service.page.router import page_router

ROOT = Path(__file__).parents[2]
ASSETS = read_assets()
SCRIPTS = {name: asset.content.decode() for name, asset in ASSETS.items() if name.endswith(".js")}
STYLE = ASSETS["page.css"].content.decode()
BODY_TEXT, LARGE_OR_GRAPHIC = 4.5, 3.0  # WCAG 2.2, 1.4.3 and 1.4.11
CONTRASTS = [
    *(
        (color, ground, BODY_TEXT)
        for color in ("text", "muted", "accent", "good", "bad")
        for ground in ("page", "raised")
    ),
    ("muted", "tint", BODY_TEXT),
    ("text", "tint", BODY_TEXT),
    ("on-accent", "accent", BODY_TEXT),
    ("page", "good", LARGE_OR_GRAPHIC),
    ("page", "bad", LARGE_OR_GRAPHIC),
    ("strong", "page", LARGE_OR_GRAPHIC),
    ("strong", "raised", LARGE_OR_GRAPHIC),
]


def ask(method: str, path: str, **headers: str) -> httpx.Response:
    app = FastAPI()
    app.include_router(page_router())

    async def answer() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://efq") as client:
            return await client.request(
                method, path, headers={key.replace("_", "-"): value for key, value in headers.items()}
            )

    return asyncio.run(answer())


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_a_file_is_sent_whole_with_its_type_and_policy(name: str) -> None:
    path = "/" if name == INDEX else f"/page/{name}"
    answer = ask("GET", path)
    assert answer.status_code == 200
    assert answer.content == ASSETS[name].content
    assert answer.headers["Content-Type"] == CONTENT_TYPES[Path(name).suffix]
    assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    head = ask("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(answer.content))
    again = ask("GET", path, If_None_Match=f'"other", W/{answer.headers["ETag"]}')
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert ask("GET", path, If_None_Match='"other"').status_code == 200


def test_nothing_else_is_sent() -> None:
    for path in (
        "/page/",
        "/page/assets.py",
        "/page/index.html",
        "/page/..%2Fassets.py",
        "/favicon.ico",
    ):
        assert ask("GET", path).status_code == 404
    assert ask("POST", "/").status_code == 405


def test_the_policy_allows_the_pages_own_files_only() -> None:
    rules = dict(rule.split(" ", 1) for rule in CONTENT_SECURITY_POLICY.split("; "))
    assert rules.pop("img-src") == "'self' blob: data:"  # photos as they were chosen, crops as they were answered
    assert rules.pop("require-trusted-types-for") == "'script'"
    assert set(rules.values()) == {"'self'", "'none'"}
    assert rules["default-src"] == "'none'"
    assert {name for name, value in rules.items() if value == "'self'"} == {"script-src", "style-src", "connect-src"}


def test_every_file_that_is_named_is_there() -> None:
    page = Page(ASSETS[INDEX].content.decode())
    named = {
        element.attributes[key] for element in page.elements for key in ("src", "href") if key in element.attributes
    }
    files = {name for name in named if not name.startswith("#")}
    assert {name.removeprefix("page/") for name in files} <= set(ASSETS)
    imported = {name for script in SCRIPTS.values() for name in re.findall(r'from "\./([\w.]+)"', script)}
    assert imported | {"main.js"} == set(SCRIPTS)
    assert {f"*{Path(name).suffix}" for name in ASSETS} <= set(_package_data())


def _package_data() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns: list[str] = project["tool"]["setuptools"]["package-data"]["*"]
    return patterns


def test_the_document_has_no_script_style_or_address_in_it() -> None:
    content = ASSETS[INDEX].content.decode()
    page = Page(content)
    assert [element.text for element in page.all("script")] == [""]
    assert not page.all("style")
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
        for name in ("aria-labelledby", "aria-describedby", "for"):
            for key in element.attributes.get(name, "").split():
                page.with_id(key)
    assert page.with_id("enroll-name").attributes["maxlength"] == str(LONGEST_NAME)
    assert [element.tag for element in page.elements if element.tag in ("header", "nav", "main", "footer")] == [
        *("header", "nav", "main", "footer")
    ]


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_makes_no_markup_of_texts(name: str) -> None:
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|localStorage|\.style\b"
        r"|https?://(?!www\.w3\.org/2000/svg)",
        SCRIPTS[name],
    )
    assert found == []
    assert max(map(len, SCRIPTS[name].splitlines())) <= 120


def luminance(color: str) -> float:
    """Of sRGB, as WCAG 2.2 defines it."""
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return float(sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colors_are_told_apart(mode: str) -> None:
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[mode == "dark"]))
    assert len(blocks) == 2
    for color, ground, least in CONTRASTS:
        light, dark = sorted((luminance(colors[color]), luminance(colors[ground])), reverse=True)
        contrast = (light + 0.05) / (dark + 0.05)
        assert contrast >= least, f"{color} on {ground}, {mode}: {contrast:.2f}"


def test_nothing_moves_for_those_who_asked_for_that() -> None:
    free = STYLE.replace(STYLE[STYLE.index("@media (prefers-reduced-motion: no-preference)") :].split("\n}")[0], "")
    assert not re.search(r"transition|animation|scroll-behavior", free)
