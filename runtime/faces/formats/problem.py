"""What is wrong with the bytes of an image file."""

from __future__ import annotations

from typing import NoReturn


class DamagedImageError(Exception):
    """What was found in place of a whole image, a clause for a message; whoever knows the file's name writes that."""


def damaged(kind: str, found: str) -> NoReturn:
    """Raise that an image of this kind is damaged, and by what this is known."""
    message = f"a damaged {kind} image ({found})"
    raise DamagedImageError(message)


def early(kind: str) -> NoReturn:
    """Raise that the file ends before its image does."""
    message = f"a {kind} image that ends early"
    raise DamagedImageError(message)


def unusual(found: str) -> NoReturn:
    """Raise that an image is of a form that is not read, whole or not."""
    message = f"{found}; convert it to PNG"
    raise DamagedImageError(message)
