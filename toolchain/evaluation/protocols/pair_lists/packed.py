"""Verification sets (.bin): pairs with their images, in InsightFace's ten folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from efq.toolchain.data.sources.packed.verification_set import VerificationSet, VerificationSetFormat
from efq.toolchain.evaluation.protocols.pair_lists.folds import contiguous_folds, folds_by_class, one_class_alone
from efq.toolchain.evaluation.protocols.pair_lists.listed import ListedPair, ListedPairs

_FACES = VerificationSetFormat()


class PackedFormat:
    """What is a face source as well."""

    name = _FACES.name

    def recognizes(self, path: Path) -> bool:
        """As the face source does."""
        return _FACES.recognizes(path)

    def open(self, path: Path) -> ListedPairs:
        """Its pairs in their order.

        Folds are those of InsightFace's evaluation, scikit-learn's KFold(10) without shuffling. Where one of these
        would hold one class alone, the pairs of each class are cut into ten parts instead, and the log says so.
        """
        faces = VerificationSet(path)
        first, second, same = faces.pairs
        folds, read_as = contiguous_folds(len(same)), "ten contiguous folds, as InsightFace cuts them"
        if one_class_alone(same, folds):
            folds = folds_by_class(same)
            read_as = "ten folds by class: contiguous ones, as InsightFace cuts them, would hold one class alone"
        pairs = [
            ListedPair(f"pair {place}", one, other, bool(label), int(fold))
            for place, (one, other, label, fold) in enumerate(zip(first, second, same, folds, strict=True))
        ]
        copies = 2 * len(pairs) - len(np.unique([*first, *second]))
        return ListedPairs(
            name=path.stem,
            path=path,
            pairs=pairs,
            folder=path.parent,
            read_as=f"{len(pairs):,} pairs of {2 * len(pairs) - copies:,} different images, {read_as}",
            faces=faces,
        )
