"""The pages of the documentation: their links, the paths and modules they name, their code blocks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w.*/-]+")
_TOP = re.compile(r"(runtime|toolchain|export|benchmarks|tests|docs)/")
_MODULE = re.compile(r"efq\.(?:runtime|toolchain|export|benchmarks)(?:\.\w+)*")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block of a page: its language, its text, and the line of the page it begins on, from 0."""

    language: str
    text: str
    line: int


def blocks(page: Path, language: str) -> Iterator[Block]:
    """The blocks of one language."""
    content = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(content):
        if match[1] == language:
            yield Block(language=language, text=match[2], line=content.count("\n", 0, match.start()) + 1)


def links(page: Path) -> set[str]:
    """The targets of the page's links and images that are no web addresses, without their anchors."""
    found = (target.partition("#")[0] for target in _LINK.findall(_prose(page)))
    return {target for target in found if target and "://" not in target}


def named_paths(page: Path) -> set[str]:
    """The files and folders of the repository that the page names in `code`; may hold *."""
    words = {word for code in _CODE.findall(_prose(page)) for word in code.split()}
    return {word for word in words if _PATH.fullmatch(word) and _TOP.match(word)}


def named_modules(page: Path) -> set[str]:
    """The modules, classes and functions of EFQ that the page names in `code` by their dotted name."""
    return {match[0] for code in _CODE.findall(_prose(page)) for match in _MODULE.finditer(code)}


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command in the page's bash blocks, comments left out and continued lines joined."""
    for block in blocks(page, "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = re.sub(r"(^|\s)#.*", "", line).split()
            if words:
                yield words


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))
