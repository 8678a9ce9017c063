"""The one door to pairs: which formats there are, and which of them a path is of."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from efq.runtime.extensions import load_extensions
from efq.toolchain.evaluation.protocols.pair_lists.cfp import CfpFormat
from efq.toolchain.evaluation.protocols.pair_lists.listed import ListedPairs, PairsFormat
from efq.toolchain.evaluation.protocols.pair_lists.packed import PackedFormat
from efq.toolchain.evaluation.protocols.pair_lists.text import TextFormat

ENTRY_POINTS = "efq.pairs"
_BUILT_IN: tuple[PairsFormat, ...] = (PackedFormat(), CfpFormat())
_TEXT = TextFormat()  # last: whatever is no list of text says so itself

_logger = logging.getLogger(__name__)


def open_pairs(path: Path) -> ListedPairs:
    """The pairs listed in `path`, of whatever format recognizes it; a line in the log says what was found out.

    Raises InputError as the format does.
    """
    chosen = next((one for one in pairs_formats() if _recognizes(one, path)), _TEXT)
    found = chosen.open(path)
    if found.read_as:
        _logger.info("%s: %s", path, found.read_as)
    return found


@functools.cache
def pairs_formats() -> tuple[PairsFormat, ...]:
    """All formats in the order in which they are asked: those of other packages by name, then the built-in ones.

    They are loaded on the first call. One that cannot be is named in a warning and left out.
    """
    extensions = load_extensions(ENTRY_POINTS, PairsFormat)  # type: ignore[type-abstract]
    return (*extensions.values(), *_BUILT_IN, _TEXT)


def _recognizes(one: PairsFormat, path: Path) -> bool:
    try:
        return one.recognizes(path)
    except Exception as error:  # what one package does must not close the door to the others
        _logger.warning("the pairs format %s cannot tell whether %s is of it: %r", one.name, path, error)
        return False
