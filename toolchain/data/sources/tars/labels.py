"""Who is on the images of a tar: what WebDataset's labels beside them say, or else the folders they lie in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from efq.runtime.errors import InputError
from efq.runtime.faces.scan import suffix_of
from efq.runtime.reading import parse_json
from efq.toolchain.data.sources.container import number_name

LABEL_SUFFIXES = (".cls", ".json", ".txt")
LONGEST_LABEL = 1 << 16
"""Bytes of a file with a label."""

_WHOLE = re.compile(r"[0-9]{1,18}")
_LONGEST_NAME = 200
_FIELDS = ("identity", "label")


class Labels:
    """The labels of one tar: of each member with one, by what its name begins with."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, str]] = {suffix: {} for suffix in LABEL_SUFFIXES}

    def add(self, name: str, content: bytes) -> bool:
        """Take the label in `content`, of the member `name`; False where there is none in it."""
        suffix = suffix_of(name)
        label = read_label(suffix, content)
        if label is not None:
            self._found[suffix][_stem(name)] = label
        return label is not None

    def of(self, name: str, suffixes: Iterable[str]) -> str:
        """The label of the image `name`; empty where none is beside it.

        Labels are in files of the image's name with another suffix (a.front.cls of a.front.jpg), or of WebDataset's
        key, the name up to its first dot (a.cls of a.front.jpg).
        """
        if not any(self._found[one] for one in suffixes):
            return ""
        folder, slash, base = name.rpartition("/")
        keys = (_stem(name), folder + slash + base.partition(".")[0])
        return next((self._found[one][key] for one in suffixes for key in keys if key in self._found[one]), "")


def label_suffixes(images: Sequence[tuple[str, Labels]]) -> tuple[str, ...]:
    """In which files the labels of images (name, labels of its tar) are; none where folders name the people.

    Text is often a caption: it is taken for a label only where the images do not lie in folders.
    """
    for suffixes in ((".cls", ".json"), (".txt",)):
        if any(labels.of(name, suffixes) for name, labels in images):
            folders = {name.rpartition("/")[0] for name, _ in images}
            return () if suffixes == (".txt",) and len(folders) > 1 else suffixes
    return ()


def read_label(suffix: str, content: bytes) -> str | None:
    """The name of a person: a whole number or a line of text, in JSON under "identity" or "label"; None for others."""
    try:
        text = content.decode()
        found = parse_json(text, "a label") if suffix == ".json" else text
    except (UnicodeDecodeError, InputError):
        return None
    if isinstance(found, dict):
        found = next((found[field] for field in _FIELDS if field in found), None)
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    name = found.strip() if isinstance(found, str) else ""
    if not name or not name.isprintable() or len(name) > _LONGEST_NAME or name.startswith("-"):
        return None
    return number_name(int(name)) if name.isascii() and _WHOLE.fullmatch(name) else name


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 (a Path a name takes seconds for a million)
