"""Which folder names the person: never guessed where there are several readings."""

from __future__ import annotations

import unicodedata

import pytest
from messages import names, raises_naming

from efq.runtime.errors import InputError, UsageError
from efq.toolchain.data.identities import check_identities, identity_names

SPLIT = [f"{split}/p{person:02}" for split in ("train", "val") for person in range(60)]
POSES = [f"p{person:02}/{pose}" for person in range(60) for pose in ("frontal", "profile")]


def test_the_identity_is_the_folder_or_a_name_at_a_level() -> None:
    assert identity_names(["a/b", "a/c", "d", ""], None) == ["a/b", "a/c", "d", ""]
    assert identity_names(["a/b", "a/c", "d", ""], 1) == ["a", "a", "d", ""]
    assert identity_names(["a/b", "c/b", "d", ""], 2) == ["b", "b", "", ""]
    assert len(set(identity_names(SPLIT, 2))) == len(set(identity_names(POSES, 1))) == 60


def test_accents_in_either_normal_form_are_one_name() -> None:
    forms = [unicodedata.normalize(form, "José") for form in ("NFC", "NFD")]
    assert len(set(forms)) == 2
    assert len(set(identity_names(forms, None))) == 1
    check_identities(forms, None, "faces")


@pytest.mark.parametrize(
    ("folders", "counts"),
    [(SPLIT, ("2 identities", "60 identities", 120)), (POSES, ("60 identities", "2 identities", 120))],
)
def test_names_that_repeat_are_refused_with_every_reading(folders: list[str], counts: tuple[object, ...]) -> None:
    options = ("--identity-level 1", "--identity-level 2", "--identity-level leaf")
    with raises_naming(InputError, "faces", folders[0], *options, *counts):
        check_identities(folders, None, "faces")
    for level in (1, 2, "leaf"):
        check_identities(folders, level, "faces")  # type: ignore[arg-type]


def test_folders_within_folders_of_images_are_refused() -> None:
    with raises_naming(InputError, "ann/profile", "--identity-level 1 (2 identities: ann, bob)"):
        check_identities(["ann", "ann/profile", "bob"], None, "faces")
    check_identities(["ann", "ann/profile", "bob"], 1, "faces")


def test_names_in_other_case_in_another_place_are_the_same() -> None:
    with raises_naming(InputError, "train/Ann", "val/ann"):
        check_identities(["train/Ann", "val/ann"], None, "faces")


@pytest.mark.parametrize(
    "folders",
    [
        ["Aaron_Eckhart", "Aaron_Guiel"],  # Labeled Faces in the Wild
        ["train/n000002", "train/n000003", "test/n000001"],  # VGGFace2: other people in each split
        ["lfw/Aaron_Eckhart", "cfp/001"],
        ["casia", "vggface/n000002"],
        [f"{shard:02}/m.{shard}{place}" for shard in range(4) for place in range(40)],
    ],
)
def test_usual_layouts_need_no_option(folders: list[str], caplog: pytest.LogCaptureFixture) -> None:
    check_identities(folders, None, "faces")
    assert not caplog.records


def test_many_folders_of_few_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    check_identities([f"p{place // 3}/{place}" for place in range(90)], None, "faces")
    names(caplog.text, 90, 30, "--identity-level 1")


def test_names_that_differ_in_case_only_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    check_identities(["Ann", "ann", "bob"], None, "faces")
    names(caplog.text, "Ann", "ann")


@pytest.mark.parametrize("level", [0, -1])
def test_levels_below_one(level: int) -> None:
    with raises_naming(UsageError, level):
        check_identities(["a"], level, "faces")
