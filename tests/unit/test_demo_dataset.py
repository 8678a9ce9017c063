"""The drawn data set: disjoint splits, sound pairs, the same for a seed."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from messages import raises_naming

from efq.benchmarks.drawn_faces.dataset import DEV_LISTING, DEV_PAIRS, TRAIN_LISTING, DatasetSize, draw_dataset
from efq.runtime.errors import UsageError
from efq.toolchain.data import open_faces
from efq.toolchain.evaluation import read_pairs
from efq.toolchain.evaluation.figures.rates import FOLDS

SIZE = DatasetSize(train_identities=3, dev_identities=20, views=2, pairs_per_fold=4)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    draw_dataset(root, SIZE, seed=4)
    return root


def test_listings_hold_every_face_and_share_no_identity(root: Path) -> None:
    train, dev = (open_faces(root, listing=root / listing, cache=False) for listing in (TRAIN_LISTING, DEV_LISTING))
    assert (len(train), len(dev)) == (3 * 2, 20 * 2)
    assert not set(train.identities) & set(dev.identities)
    assert not set(train.hashes) & set(dev.hashes)
    assert len(open_faces(root, cache=False)) == len(train) + len(dev)


def test_pairs_are_balanced_true_and_of_one_fold_an_identity(root: Path) -> None:
    pairs = read_pairs(root / DEV_PAIRS, root)
    people = [(a.split("/")[0], b.split("/")[0]) for a, b in zip(pairs.first, pairs.second, strict=True)]
    assert [a == b for a, b in people] == list(pairs.same)
    assert len(set(zip(pairs.first, pairs.second, strict=True))) == len(pairs.first)
    assert Counter(pairs.folds.tolist()) == dict.fromkeys(range(FOLDS), SIZE.pairs_per_fold)
    fold_of = {(person, fold) for both, fold in zip(people, pairs.folds.tolist(), strict=True) for person in both}
    assert len(fold_of) == len({person for person, _ in fold_of})
    dev = set((root / DEV_LISTING).read_text().split())
    assert {*pairs.first, *pairs.second} <= dev


def test_a_seed_gives_the_same_files_and_another_seed_others(root: Path, tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    draw_dataset(tmp_path / "again", SIZE, seed=4)
    draw_dataset(tmp_path / "other", SIZE, seed=5)
    assert content(tmp_path / "again") == content(root)
    assert content(tmp_path / "other")["person0000/00.jpg"] != content(root)["person0000/00.jpg"]


def test_too_few_identities_for_ten_folds_are_refused() -> None:
    with raises_naming(UsageError, 20, 19):
        DatasetSize(dev_identities=19)
