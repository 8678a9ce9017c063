"""The format of CALFW and CPLFW (pairs_CALFW.txt, pairs_CPLFW.txt): an image a line, a pair each two lines."""

from __future__ import annotations

from efq.runtime.errors import InputError
from efq.toolchain.evaluation.protocols.pair_lists.labels import number_of
from efq.toolchain.evaluation.protocols.pair_lists.listed import ListedPair
from efq.toolchain.evaluation.protocols.pair_lists.table import Row, Table


def read_two_lines(table: Table) -> list[ListedPair]:
    """`image n`, twice: two people where n is 0, else one person, in fold n.

    Pairs of two people, of whom the list names no fold, are cut in their order into the folds of the others; where all
    others are in fold 1, that is a label, and there are no folds.

    Raises InputError, with the line, for anything else.
    """
    if len(table.rows) % 2:
        message = f"expected two lines for each pair in {table.path}, found {len(table.rows)} lines"
        raise InputError(message)
    pairs = [_pair(table, first, second) for first, second in zip(table.rows[::2], table.rows[1::2], strict=True)]
    if {pair.fold for pair in pairs} <= {None, 1}:
        return [pair._replace(fold=None) for pair in pairs]
    return pairs


def _pair(table: Table, first: Row, second: Row) -> ListedPair:
    numbers = [number_of(row.fields[1]) if len(row.fields) == 2 else None for row in (first, second)]
    for row, number in zip((first, second), numbers, strict=True):
        if number is None:
            table.refuse(row, "`image n`, n being 0 for two people, else the fold,")
    if numbers[0] != numbers[1]:
        table.refuse(second, f"the same number as in the line before, {numbers[0]},")
    return ListedPair(f"line {first.number}", first.fields[0], second.fields[0], bool(numbers[0]), numbers[0] or None)
