"""Lists of pairs as one text file: which of the layouts it has is told by its first lines."""

from __future__ import annotations

import statistics
from pathlib import Path

from efq.toolchain.evaluation.protocols.pair_lists.folds import BY_CLASS
from efq.toolchain.evaluation.protocols.pair_lists.lfw import is_lfw, read_lfw
from efq.toolchain.evaluation.protocols.pair_lists.listed import ListedPair, ListedPairs
from efq.toolchain.evaluation.protocols.pair_lists.rows import read_rows
from efq.toolchain.evaluation.protocols.pair_lists.table import Table, read_table
from efq.toolchain.evaluation.protocols.pair_lists.two_lines import read_two_lines


class TextFormat:
    """Any file: what is no list of pairs is refused when it is opened."""

    name = "text"

    def recognizes(self, path: Path) -> bool:
        """Always."""
        return True

    def open(self, path: Path) -> ListedPairs:
        """The pairs of the file. Raises InputError as `read_table` does, and for lines of no known layout."""
        table = read_table(path)
        pairs, layout = _read(table) if table.rows else ([], "")
        encoding = f"in {table.encoding}" if table.encoding else ""
        separator = f"separated by {table.separator}" if table.separator not in ("", "tabs") else ""
        folds = BY_CLASS if pairs and all(pair.fold is None for pair in pairs) else ""
        found = [part for part in (encoding, separator, layout, folds) if part]
        return ListedPairs(
            name=path.stem,
            path=path,
            pairs=pairs,
            folder=path.parent,
            read_as=f"{len(pairs):,} pairs, {', '.join(found)}" if found else "",
        )


def _read(table: Table) -> tuple[list[ListedPair], str]:
    """The pairs, and in words what is not the layout with a pair and a fold a line."""
    if is_lfw(table):
        return read_lfw(table), "as of Labeled Faces in the Wild"
    if statistics.mode(len(row.fields) for row in table.rows) == 2:
        return read_two_lines(table), "two lines a pair, as of CALFW and CPLFW"
    return read_rows(table)
