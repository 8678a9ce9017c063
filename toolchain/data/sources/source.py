"""What every source of faces offers, whatever holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

Fingerprint = tuple[str | int, ...]


class FaceSource(Protocol):
    """Aligned faces of known identities, each with a key: its path within the source, with forward slashes.

    Listings and pairs files name keys. Nothing is read before it is asked for.
    """

    @property
    def name(self) -> str:
        """Where the faces are, as a user named it: for messages and reports."""

    def keys(self) -> tuple[str, ...]:
        """All keys, each once, sorted as paths are, folder by folder; none where there is no face."""

    def __contains__(self, key: str, /) -> bool:
        """Whether there is an image under `key`; must not need `keys`, which may take long."""

    def identity(self, key: str) -> str:
        """Who is on the image; empty where the source does not say, and then only listed pairs can be compared."""

    def fingerprint(self, key: str) -> Fingerprint:
        """Values that change when the image does, found without reading it: decoded images are kept by them.

        Raises InputError when there is no such image any more.
        """

    def read(self, key: str) -> bytes:
        """The image as it is stored, as `decode_image` reads it. Raises UnreadableImageError when it cannot."""


@runtime_checkable
class FaceFormat(Protocol):
    """A way to store faces. Other packages add one as an entry point, an object, of the group `efq.faces`."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def recognizes(self, path: Path) -> bool:
        """Whether `path`, which may not exist, is of this format; quick, by its kind, its suffix or its first bytes."""

    def open(self, path: Path) -> FaceSource:
        """The faces in `path`, which it recognizes. Raises InputError when they cannot be opened."""
