"""How lists spell whether two images are of one person, and what they call their columns."""

from __future__ import annotations

import re

_SAME = frozenset({"1", "1.0", "same", "true", "match", "matched", "genuine", "positive"})
_DIFFERENT = frozenset(
    {"0", "0.0", "-1", "-1.0", "diff", "different", "false", "mismatch", "mismatched", "impostor", "negative"}
)
SPELLINGS = "1 or 0, 1 or -1, same or diff, true or false"
_LABELS = frozenset(
    {"label", "labels", "same", "issame", "is_same", "same_person", "match", "is_match", "target", "genuine"}
)
_FOLDS = frozenset({"fold", "folds", "split"})
_NUMBERINGS = frozenset({"", "id", "index", "pair", "pair_id", "no"})
_IMAGES = re.compile(r"(image|img|path|file|filename|name|photo|picture|face|first|second|left|right)(_?[a-z0-9]+)?")
_NUMBER = re.compile(r"[0-9]{1,9}")


def label_of(text: str) -> bool | None:
    """Whether a field says that both are of one person; None for what is no label."""
    word = text.strip().casefold()
    return True if word in _SAME else False if word in _DIFFERENT else None


def number_of(text: str) -> int | None:
    """The number in a field, such as a fold; None for what is none of up to nine digits."""
    word = text.strip()
    return int(word) if _NUMBER.fullmatch(word) else None


def column_of(text: str) -> str:
    """What a heading is of: "label", "fold", "numbering", or "image" for any other."""
    word = _heading(text)
    for kind, names in (("label", _LABELS), ("fold", _FOLDS), ("numbering", _NUMBERINGS)):
        if word in names:
            return kind
    return "image"


def names_images(text: str) -> bool:
    """Whether a field is a usual heading of images, such as image1, and not rather an image's name."""
    return _IMAGES.fullmatch(_heading(text)) is not None


def _heading(text: str) -> str:
    return re.sub(r"[\s-]+", "_", text.strip().casefold())
