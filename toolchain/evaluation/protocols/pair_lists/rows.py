"""Lists with one pair a line: two images, a label and perhaps a fold, with or without headings."""

from __future__ import annotations

from typing import NamedTuple

from efq.toolchain.evaluation.protocols.pair_lists.labels import SPELLINGS, column_of, label_of, names_images, number_of
from efq.toolchain.evaluation.protocols.pair_lists.listed import ListedPair
from efq.toolchain.evaluation.protocols.pair_lists.table import Row, Table


class Columns(NamedTuple):
    """Places of the fields of a row of `width`; `fold` None where there is none."""

    width: int
    first: int
    second: int
    label: int
    fold: int | None


_PLAIN = Columns(3, 0, 1, 2, None)  # LFW, CFP and AgeDB as lists of paths
_LABEL_FIRST = Columns(3, 1, 2, 0, None)
_WITH_FOLD = Columns(4, 0, 1, 2, 3)


def columns_by_heading(table: Table) -> Columns | None:
    """The columns that the first row names; None where it is a pair. Raises InputError for headings of other things.

    "same" may be a heading or a label: it is one where the fields beside it are headings of images.
    """
    row = table.rows[0]
    kinds = [column_of(field) for field in row.fields]
    images = [place for place, kind in enumerate(kinds) if kind == "image"]
    if kinds.count("label") != 1 or any(label_of(row.fields[place]) is not None for place in images):
        return None
    label = kinds.index("label")
    if label_of(row.fields[label]) is not None and not all(names_images(row.fields[place]) for place in images):
        return None
    if len(images) != 2 or kinds.count("fold") > 1:
        table.refuse(row, "the headings of two columns of images, of one of labels, and at most of one of folds")
    fold = kinds.index("fold") if "fold" in kinds else None
    return Columns(len(row.fields), images[0], images[1], label, fold)


def read_rows(table: Table) -> tuple[list[ListedPair], str]:
    """The pairs and how they were read. Raises InputError, with the line, for anything else."""
    columns = columns_by_heading(table)
    heading = columns is not None
    if columns is None:
        columns = _columns(table)
    pairs = [_pair(table, row, columns) for row in table.rows[heading:]]
    return pairs, "columns by their headings" if heading else ""


def _columns(table: Table) -> Columns:
    row = table.rows[0]
    if len(row.fields) == 4:
        return _WITH_FOLD
    first_is_label = label_of(row.fields[0]) is not None
    return _LABEL_FIRST if first_is_label and label_of(row.fields[-1]) is None else _PLAIN


def _pair(table: Table, row: Row, columns: Columns) -> ListedPair:
    label = fold = None
    if len(row.fields) == columns.width:
        label = label_of(row.fields[columns.label])
        fold = None if columns.fold is None else number_of(row.fields[columns.fold])
    if label is None or (fold is None) != (columns.fold is None):
        names = {columns.first: "image", columns.second: "image", columns.label: f"label ({SPELLINGS})"}
        names |= {} if columns.fold is None else {columns.fold: "fold"}
        expected = ", ".join(names.get(place, "...") for place in range(columns.width))
        table.refuse(row, f"the fields `{expected}`, separated by {table.separator or 'tabs'},")
    return ListedPair(f"line {row.number}", row.fields[columns.first], row.fields[columns.second], label, fold)
