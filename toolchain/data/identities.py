"""Which of the folders that an image lies in names the person on it."""

from __future__ import annotations

import collections
import logging
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

from efq.runtime.errors import InputError, UsageError

IdentityLevel = int | Literal["leaf"]
"""N: the N-th folder below the root, 1 the first; "leaf": the folder that holds the image, with those above it."""

_MANY_GROUPS = 10
_FEW_FOLDERS = 10  # in each of so many groups on average: a group may be the person
_NAMED = 3

_logger = logging.getLogger(__name__)


def identity_names(folders: Sequence[str], level: IdentityLevel | None) -> list[str]:
    """The identity of each image from its folder below the root, "a/b/c"; empty where there is none at that level.

    With level N images are of one person when their N-th folders have the same name, whatever lies above; otherwise
    when their folders are the same. Names are compared in the normal form NFC, as systems write accents differently.
    """
    names = {folder: _identity(folder, level) for folder in set(folders)}
    return [names[folder] for folder in folders]


def check_identities(folders: Iterable[str], level: IdentityLevel | None, source: str) -> None:
    """Find out whether the folders of images of `source` can be told apart as people.

    Without a level, folders of one name in different places (train/ann and val/ann, ann/frontal and bob/frontal) and
    folders that hold both images and other folders with images can be read in several ways: an InputError then names
    them all. What is unusual, but of one reading, is a warning. Raises UsageError for a level below 1.
    """
    if isinstance(level, int) and level < 1:
        message = f"expected an identity level of 1, the first folder below the faces, or more, found {level}"
        raise UsageError(message)
    found = sorted({folder for folder in folders if folder})
    if level is None:
        doubt = _several_readings(found)
        if doubt:
            message = f"expected a folder for each person in {source}, found {doubt}; {_ways_out(found)}"
            raise InputError(message)
        _warn_of_groups(found, source)
    _warn_of_case(sorted(set(identity_names(found, level))), source)


def _identity(folder: str, level: IdentityLevel | None) -> str:
    parts = unicodedata.normalize("NFC", folder).split("/")
    if isinstance(level, int):
        return parts[level - 1] if level <= len(parts) else ""
    return "/".join(parts)


def _several_readings(folders: list[str]) -> str:
    """What can be read in several ways, in words; empty when nothing can."""
    places = collections.defaultdict(list)
    for folder in folders:
        above, _, name = unicodedata.normalize("NFC", folder).rpartition("/")
        places[name.casefold()].append((above, folder))
    repeated = [found for found in places.values() if len({above for above, _ in found}) > 1]
    if repeated:
        examples = ", ".join(folder for _, folder in repeated[0][:_NAMED])
        return f"{len(repeated)} names of folders that are there in several places ({examples})"
    known = set(folders)
    nested = [folder for folder in folders if any(above in known for above in _above(folder))]
    if nested:
        outer = next(above for above in _above(nested[0]) if above in known)
        return f"{len(nested)} folders within folders that hold images as well ({nested[0]} in {outer})"
    return ""


def _above(folder: str) -> list[str]:
    parts = folder.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _ways_out(folders: list[str]) -> str:
    """Every reading with the identities it gives."""
    depth = min(folder.count("/") + 1 for folder in folders)
    readings = []
    for level in range(1, depth + 1):
        names = sorted(set(identity_names(folders, level)))
        shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        readings.append(f"--identity-level {level} ({len(names)} identities: {shown})")
    readings.append(f"--identity-level leaf (each of the {len(folders)} folders is an identity of its own)")
    return "say which folder names the person: " + ", ".join(readings)


def _warn_of_groups(folders: list[str], source: str) -> None:
    """Many folders of few folders each, as person/session: the folder above may well be the person."""
    groups = {folder.rpartition("/")[0] for folder in folders} - {""}
    if len(groups) >= _MANY_GROUPS and len(folders) < _FEW_FOLDERS * len(groups) and len(groups) < len(folders):
        _logger.warning(
            "%d folders in %s that hold images are taken for as many people; if the %d folders above them are the "
            "people, give --identity-level %d",
            len(folders),
            source,
            len(groups),
            folders[0].count("/"),
        )


def _warn_of_case(names: list[str], source: str) -> None:
    by_name = collections.defaultdict(list)
    for name in names:
        by_name[name.casefold()].append(name)
    alike = [found for found in by_name.values() if len(found) > 1]
    if alike:
        _logger.warning(
            "%d names of people in %s differ only in upper and lower case and are taken for different people (%s)",
            len(alike),
            source,
            ", ".join(alike[0][:_NAMED]),
        )
