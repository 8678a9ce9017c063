"""The images that lists of pairs name and those they bring, as one source."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from efq.runtime.errors import UsageError
from efq.toolchain.data.sources.joined import join_sources
from efq.toolchain.data.sources.registry import open_source
from efq.toolchain.data.sources.source import FaceSource
from efq.toolchain.evaluation.protocols.pair_lists.registry import open_pairs
from efq.toolchain.evaluation.protocols.pairs import PairList, check_pairs


def gather(
    given: FaceSource | None, pairs_files: Sequence[Path], *, all_pairs: bool
) -> tuple[FaceSource, tuple[PairList, ...]]:
    """One source with all images, and the lists with their paths in it.

    The images of the source `given` have the paths they have there. A list that brings its images has them under its
    file's name, and so has one that names images in its own folder, where no source is given; before those of one such
    source alone nothing is put. Lists of one name are numbered.

    Raises InputError as `read_pairs` does, and UsageError for a source of which neither all pairs nor a list is
    compared, and where there is nothing to open.
    """
    listed = [open_pairs(file) for file in pairs_files]
    folders: dict[Path, FaceSource] = {}
    sources: list[FaceSource] = []
    for one in listed:
        if one.faces is not None:
            sources.append(one.faces)
        elif given is not None:
            sources.append(given)
        else:
            if one.folder not in folders:
                folders[one.folder] = open_source(one.folder)
            sources.append(folders[one.folder])
    if given is None and not sources:
        message = "expected faces, or pairs files that name or bring them, found neither"
        raise UsageError(message)
    if given is not None and not all_pairs and all(source is not given for source in sources):
        found = ", ".join(map(str, pairs_files))
        message = (
            f"expected pairs of images in {given.name}, found {found}, with images of their own; leave --faces out"
        )
        raise UsageError(message)
    checked = [check_pairs(one, source) for one, source in zip(listed, sources, strict=True)]
    joined, prefixes = join_sources(given, sources)
    names = _distinct([pairs.name for pairs in checked])
    placed = zip(checked, prefixes, names, strict=True)
    return joined, tuple(dataclasses.replace(pairs.within(prefix), name=name) for pairs, prefix, name in placed)


def _distinct(names: Sequence[str]) -> list[str]:
    """Each name once: "lfw", "lfw-2"."""
    found: list[str] = []
    for name in names:
        candidates = (name, *(f"{name}-{number}" for number in range(2, len(names) + 2)))
        found.append(next(one for one in candidates if one not in found))
    return found
