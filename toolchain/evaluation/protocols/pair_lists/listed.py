"""Pairs as a file lists them, before any image is looked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from efq.toolchain.data.sources.source import FaceSource


class ListedPair(NamedTuple):
    """Two images by the names they have in the list, whether they are of one person, and their fold.

    place: where in the list, for messages ("line 3"). fold: None where the list does not say.
    """

    place: str
    first: str
    second: str
    same: bool
    fold: int | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ListedPairs:
    """What a list says.

    name: of the protocol, for reports; as a rule the file's name without its suffix.
    path: the file or folder, for messages.
    read_as: what was found out about it, in words, for the log; empty where nothing was.
    faces: the images, where the list brings them itself; else names are paths within a source of faces, and
    folder: the one they are relative to where none is given.
    """

    name: str
    path: Path
    pairs: Sequence[ListedPair]
    folder: Path
    read_as: str = ""
    faces: FaceSource | None = None


@runtime_checkable
class PairsFormat(Protocol):
    """A way to list pairs. Other packages add one as an entry point, an object, of the group `efq.pairs`."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def recognizes(self, path: Path) -> bool:
        """Whether `path`, which may not exist, is of this format; quick, by its kind, its suffix or its first bytes."""

    def open(self, path: Path) -> ListedPairs:
        """The pairs in `path`, which it recognizes. Raises InputError, with the place, when they cannot be read."""
