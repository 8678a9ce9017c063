"""The format of Labeled Faces in the Wild: pairs.txt, pairsDevTrain.txt and pairsDevTest.txt."""

from __future__ import annotations

from efq.runtime.errors import InputError
from efq.toolchain.evaluation.protocols.pair_lists.labels import number_of
from efq.toolchain.evaluation.protocols.pair_lists.listed import ListedPair
from efq.toolchain.evaluation.protocols.pair_lists.table import Row, Table

SUFFIX = ".jpg"


def is_lfw(table: Table) -> bool:
    """Whether the first line is numbers alone: of folds and of pairs, or of pairs."""
    words = table.rows[0].text.split()
    return len(words) in (1, 2) and all(number_of(word) is not None for word in words)


def read_lfw(table: Table) -> list[ListedPair]:
    """For each fold, `count` lines `name n n` of one person and `count` lines `name n name n` of two.

    The first line is "folds count", or "count" of a list in one part, which has no folds. Number n of a name stands for
    the image <name>/<name>_<n in four digits>.jpg.

    Raises InputError for another number of pairs, or a line of something else.
    """
    numbers = [number_of(word) or 0 for word in table.rows[0].text.split()]
    folds, count = numbers if len(numbers) == 2 else (None, numbers[0])
    rows = table.rows[1:]
    expected = 2 * (1 if folds is None else folds) * count
    if len(rows) != expected:
        message = f"expected {expected} pairs in {table.path} as its first line says, found {len(rows)}"
        raise InputError(message)
    pairs = []
    for place, row in enumerate(rows):
        same = place % (2 * count) < count
        first, second = _images(table, row, same=same)
        pairs.append(ListedPair(f"line {row.number}", first, second, same, place // (2 * count) if folds else None))
    return pairs


def _images(table: Table, row: Row, *, same: bool) -> tuple[str, str]:
    values = [field.strip() for field in row.fields] if len(row.fields) > 1 else row.text.split()
    if same and len(values) == 3:
        values = [values[0], values[1], values[0], values[2]]
    numbers = [number_of(values[1]), number_of(values[3])] if len(values) == 4 else [None]
    if None in numbers or (same and values[0] != values[2]):
        expected = "name <tab> n <tab> n" if same else "name <tab> n <tab> name <tab> n"
        table.refuse(row, f"`{expected}`")
    first, second = (f"{values[at]}/{values[at]}_{int(values[at + 1]):04d}{SUFFIX}" for at in (0, 2))
    return first, second
