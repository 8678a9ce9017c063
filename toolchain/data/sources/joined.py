"""Several sources as one, each with a prefix before its keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from efq.toolchain.data.sources.source import FaceSource, Fingerprint


class JoinedSource:
    """The faces of `own`, under their keys, and those of `others`, under "prefix/key"."""

    def __init__(self, own: FaceSource | None, others: Mapping[str, FaceSource]) -> None:
        self._own, self._others = own, others

    @property
    def name(self) -> str:
        """All of their names."""
        return ", ".join(source.name for source in (self._own, *self._others.values()) if source is not None)

    def keys(self) -> tuple[str, ...]:
        """Those of `own`, then the others' in their order."""
        found = list(() if self._own is None else self._own.keys())
        for prefix, source in self._others.items():
            keys = source.keys()
            found += [f"{prefix}/{key}" for key in keys]
        return tuple(found)

    def _find(self, key: str) -> tuple[FaceSource | None, str]:
        prefix, _, rest = key.partition("/")
        return (self._others[prefix], rest) if prefix in self._others else (self._own, key)

    def __contains__(self, key: str, /) -> bool:
        source, inner = self._find(key)
        return source is not None and inner in source

    def identity(self, key: str) -> str:
        """As its source says, with the prefix before it; empty where that does not say."""
        source, inner = self._of(key)
        found = source.identity(inner)
        return found if source is self._own or not found else f"{key.partition('/')[0]}/{found}"

    def fingerprint(self, key: str) -> Fingerprint:
        """As its source says."""
        source, inner = self._of(key)
        return source.fingerprint(inner)

    def read(self, key: str) -> bytes:
        """The image in its source."""
        source, inner = self._of(key)
        return source.read(inner)

    def _of(self, key: str) -> tuple[FaceSource, str]:
        source, inner = self._find(key)
        if source is None:
            raise KeyError(key)
        return source, inner


def join_sources(own: FaceSource | None, others: Sequence[FaceSource]) -> tuple[FaceSource, list[str]]:
    """One source of all, and what the keys of each of `others` begin with there; one source alone stays as it is.

    Those of `own` begin with nothing. Prefixes are the names of files or folders, numbered where they repeat.
    """
    distinct = list({id(source): source for source in others if source is not own}.values())
    if own is None and len(distinct) == 1:
        return distinct[0], [""] * len(others)
    if own is not None and not distinct:
        return own, [""] * len(others)
    prefixes: dict[str, FaceSource] = {}
    for source in distinct:
        prefixes[_free_prefix(source, own, prefixes)] = source
    names = {id(source): f"{prefix}/" for prefix, source in prefixes.items()}
    return JoinedSource(own, prefixes), [names.get(id(source), "") for source in others]


def _free_prefix(source: FaceSource, own: FaceSource | None, taken: Mapping[str, FaceSource]) -> str:
    name = PurePath(source.name).name or "faces"
    number = 1
    while True:
        prefix = name if number == 1 else f"{name}-{number}"
        hidden = own is not None and any(f"{prefix}/{key}" in own for key in source.keys()[:1])
        if prefix not in taken and not hidden:
            return prefix
        number += 1
