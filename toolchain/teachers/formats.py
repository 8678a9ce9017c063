"""The one door for teachers: the formats they come in, EFQ's own and those of other packages."""

from __future__ import annotations

import functools
import logging
import os
from pathlib import Path

from efq.runtime.extensions import load_extensions
from efq.toolchain.checkpoints.other_files import refuse_other_file
from efq.toolchain.teachers.checkpoint import CheckpointFormat
from efq.toolchain.teachers.feed import feed
from efq.toolchain.teachers.onnx import OnnxFormat
from efq.toolchain.teachers.teacher import Teacher, TeacherFormat

ENTRY_POINTS = "efq.teachers"
CHECKPOINT: TeacherFormat = CheckpointFormat()
ONNX: TeacherFormat = OnnxFormat()

_logger = logging.getLogger(__name__)


def open_teacher(path: Path, backbone: str | None = None, teacher_input: str | None = None) -> Teacher:
    """The float network in the file `path`, of whatever format recognizes it.

    `backbone` names its network, where the file does not say it: a registered name or `package.module:factory`; a
    torch checkpoint's is found by its keys when left out. `teacher_input` says what its weights were trained on where
    that is not what the format says, as `DeclaredInput.parse` reads it: "bgr,0..1". Raises CheckpointError for a file
    of no known format, or one that cannot be read, fits no backbone, or gives no embedding for a face; UsageError for
    an unknown backbone or input, and where nothing says the normalization of a teacher's images.
    """
    return feed(find_format(path).open(path, backbone), teacher_input)


def find_format(path: Path) -> TeacherFormat:
    """The format of a teacher's file. Raises CheckpointError when there is none at `path`, or none recognizes it."""
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises where a folder may not be read)
        refuse_other_file(path, "a checkpoint file")
    formats = teacher_formats()
    for candidate in formats:
        if _recognizes(candidate, path):
            return candidate
    names = ", ".join(candidate.name for candidate in formats)
    return refuse_other_file(path, f"a network of one of the formats {names}")


@functools.cache
def teacher_formats() -> tuple[TeacherFormat, ...]:
    """Those of other packages by name, then EFQ's own: a package knows its files better than their first bytes do."""
    extensions = load_extensions(ENTRY_POINTS, TeacherFormat)  # type: ignore[type-abstract]
    return (*extensions.values(), CHECKPOINT, ONNX)


def _recognizes(candidate: TeacherFormat, path: Path) -> bool:
    try:
        return candidate.recognizes(path)
    except Exception as error:  # of another package: it must not keep files of other formats from being opened
        _logger.warning("the teacher format %s cannot tell whether %s is its own: %r", candidate.name, path, error)
        return False
