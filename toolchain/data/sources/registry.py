"""The one door to faces: which formats there are, and which of them a path is of."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from efq.runtime.errors import InputError
from efq.runtime.extensions import load_extensions
from efq.runtime.file_kinds import kind_of_bytes
from efq.runtime.reading import kind_of_mode
from efq.toolchain.data.sources.container import first_bytes
from efq.toolchain.data.sources.folder import FolderFormat
from efq.toolchain.data.sources.packed.verification_set import VerificationSetFormat
from efq.toolchain.data.sources.recordio.source import RecordIoFormat
from efq.toolchain.data.sources.source import FaceFormat, FaceSource
from efq.toolchain.data.sources.tars.source import TarFormat

ENTRY_POINTS = "efq.faces"
_BUILT_IN: tuple[FaceFormat, ...] = (RecordIoFormat(), TarFormat(), VerificationSetFormat(), FolderFormat())
"""The folder last: it takes every folder."""

_logger = logging.getLogger(__name__)


def open_source(faces: Path | FaceSource) -> FaceSource:
    """The source that `faces` names, or is already.

    Raises InputError when there is nothing at the path, or nothing that a format recognizes, and as the format does.
    """
    if not isinstance(faces, Path):
        return faces
    for one in face_formats():
        if _recognizes(one, faces):
            return one.open(faces)
    found = _what_is_at(faces)
    message = (
        f"expected faces at {faces}: a folder with one folder per identity, a RecordIO file or a tar; found {found} "
        f"(formats: {', '.join(one.name for one in face_formats())})"
    )
    raise InputError(message)


@functools.cache
def face_formats() -> tuple[FaceFormat, ...]:
    """All formats in the order in which they are asked: those of other packages by name, then the built-in ones.

    They are loaded on the first call. One that cannot be is named in a warning and left out.
    """
    extensions = load_extensions(ENTRY_POINTS, FaceFormat)  # type: ignore[type-abstract]
    return (*extensions.values(), *_BUILT_IN)


def _what_is_at(path: Path) -> str:
    try:
        kind = kind_of_mode(path.stat().st_mode)
    except FileNotFoundError:
        return "nothing"
    except (OSError, ValueError) as error:
        return f"something that cannot be read ({getattr(error, 'strerror', None) or error})"
    if kind:
        return kind
    known = kind_of_bytes(first_bytes(path))
    return known.sentence if known else "a file of no known format"


def _recognizes(one: FaceFormat, path: Path) -> bool:
    try:
        return one.recognizes(path)
    except Exception as error:  # as above: what one package does must not close the door to the others
        _logger.warning("the face format %s cannot tell whether %s is of it: %r", one.name, path, error)
        return False
