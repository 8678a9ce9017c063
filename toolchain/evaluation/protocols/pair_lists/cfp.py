"""Celebrities in Frontal-Profile: the folders Split/FF and Split/FP of its Protocol, ten folds of same and diff."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from efq.runtime.errors import InputError
from efq.toolchain.evaluation.protocols.pair_lists.labels import number_of
from efq.toolchain.evaluation.protocols.pair_lists.listed import ListedPair, ListedPairs
from efq.toolchain.evaluation.protocols.pair_lists.table import read_table

_KINDS = ("FF", "FP")  # frontal with frontal, frontal with profile
_IMAGES = "Images"  # the folder the dataset has its images in
_ABOVE = ("", "FP", "Split/FP")  # what may be given, and where the folds then are
_MOST_FOLDS = 100


class CfpFormat:
    """A folder as the dataset has it, beside the lists of images that its numbers are of."""

    name = "cfp"

    def recognizes(self, path: Path) -> bool:
        """Whether it is a folder with folds, or the one above."""
        return any(os.path.isfile(path / inside / "01/same.txt") for inside in _ABOVE)  # noqa: PTH113 (Path's may raise)

    def open(self, path: Path) -> ListedPairs:
        """`Protocol/Split/FP`: folders 01 to 10 with same.txt and diff.txt of lines `i,j`.

        i is a number in Protocol/Pair_list_F.txt, j one in Pair_list_P.txt (with FF in Pair_list_F.txt, too), of lines
        `number path`. Images are named by their paths below the dataset's folder of images, "001/frontal/01.jpg".

        Raises InputError, with the file and line, for anything else.
        """
        kind = path.resolve().name
        if kind not in _KINDS:
            message = f"expected CFP's folder Split/FF or Split/FP, found {path}; give one, or each as a --pairs"
            raise InputError(message)
        protocol = path.resolve().parent.parent
        first, second = (_numbered(protocol / f"Pair_list_{side}.txt") for side in kind)
        pairs = []
        for fold in _folds(path):
            for name, same in (("same.txt", True), ("diff.txt", False)):
                pairs += _pairs(path / fold / name, first, second, same=same, fold=int(fold))
        return ListedPairs(
            name=f"cfp_{kind.lower()}",
            path=path,
            pairs=pairs,
            folder=protocol.parent / "Data" / _IMAGES,
            read_as=f"{len(pairs):,} pairs, as of Celebrities in Frontal-Profile",
        )


def _folds(path: Path) -> list[str]:
    try:
        names = sorted(inside.name for inside in path.iterdir() if re.fullmatch(r"[0-9]{1,3}", inside.name))
    except OSError as error:
        message = f"expected CFP's folders of folds in {path}, found: {error.strerror or error}"
        raise InputError(message) from error
    return names[:_MOST_FOLDS]


def _numbered(path: Path) -> dict[int, str]:
    """The paths in a list of images by their numbers."""
    table, found = read_table(path), dict[int, str]()
    for row in table.rows:
        words = row.text.split(maxsplit=1)
        number = number_of(words[0])
        if number is None or len(words) != 2 or number in found:
            table.refuse(row, "`number path`, each number once,")
        found[number] = _below_images(words[1].strip())
    return found


def _below_images(path: str) -> str:
    """ "../Data/Images/001/frontal/01.jpg" without the folders down to Images."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    start = parts.index(_IMAGES) + 1 if _IMAGES in parts else 0
    return "/".join(parts[start:])


def _pairs(path: Path, first: dict[int, str], second: dict[int, str], *, same: bool, fold: int) -> list[ListedPair]:
    table, pairs = read_table(path), []
    place = f"{path.parent.name}/{path.name}, line"
    for row in table.rows:
        numbers = [number_of(field) or 0 for field in row.fields]
        if len(numbers) != 2 or numbers[0] not in first or numbers[1] not in second:
            table.refuse(row, f"`i,j`, numbers of images in the lists of {len(first)} and {len(second)} images,")
        pairs.append(ListedPair(f"{place} {row.number}", first[numbers[0]], second[numbers[1]], same, fold))
    return pairs
