"""The look at a teacher before any work."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from messages import names, raises_naming
from networks import TEACHER, make_faces, make_pattern_teacher, pattern_network, randomize
from torch import Tensor, nn

from efq.runtime.errors import TeacherError
from efq.toolchain.backbones.registry import find_backbone
from efq.toolchain.teachers import Teacher, open_teacher
from efq.toolchain.teachers.candidate_inputs import best_other_input
from efq.toolchain.teachers.teacher_check import SAMPLE_IMAGES, check_teacher, choose_sample

PATTERNS = "networks:pattern_network"
PEOPLE = make_faces(40, 2)


def bgr_in_0_to_1(images: Tensor) -> Tensor:
    return images.flip(1) / 255


def rgb_in_minus_1_to_1(images: Tensor) -> Tensor:
    return (images - 127.5) / 127.5


@pytest.fixture(scope="module")
def bgr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained on BGR in 0..1, as no key of its file says."""
    return make_pattern_teacher(tmp_path_factory.mktemp("bgr") / "teacher.pt", bgr_in_0_to_1)


def spoiled(path: Path, factor: float, bias: float | None = None) -> Teacher:
    network = randomize(pattern_network())
    with torch.no_grad():
        network[3].weight.mul_(factor)  # type: ignore[operator,union-attr]
        if bias is not None:
            network[3].bias.fill_(bias)  # type: ignore[operator,union-attr]
    torch.save(network.state_dict(), path)
    return open_teacher(path, PATTERNS)


def test_a_sound_teacher_is_said_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    teacher = open_teacher(make_pattern_teacher(tmp_path / "teacher.pt", rgb_in_minus_1_to_1), PATTERNS)
    found = check_teacher(teacher, PEOPLE)
    assert found.separation is not None
    assert (found.identities, found.images, found.views, found.better) == (40, 80, False, None)
    assert found.separation.auc > 0.99
    names(
        caplog.records[-1].getMessage(), PATTERNS, "rgb,-1..1", "40 people", "80 images", f"{found.separation.auc:.4f}"
    )


def test_another_input_that_separates_better_is_named(bgr: Path) -> None:
    with raises_naming(TeacherError, PATTERNS, "rgb,-1..1", "--teacher-input bgr,0..1", "--accept-teacher"):
        check_teacher(open_teacher(bgr, PATTERNS), PEOPLE)
    accepted = check_teacher(open_teacher(bgr, PATTERNS), PEOPLE, accept=True)
    assert accepted.better is not None
    assert str(accepted.better.input) == "bgr,0..1"


def gray_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(288, 16))


def test_a_network_of_gray_images_is_tried_on_gray_ones(tmp_path: Path) -> None:
    torch.save(randomize(gray_network()).state_dict(), tmp_path / "teacher.pt")
    teacher = open_teacher(tmp_path / "teacher.pt", f"{__name__}:gray_network", "112x112")
    assert check_teacher(teacher, PEOPLE, accept=True).separation is not None
    other = best_other_input(teacher, (np.array(PEOPLE.images), PEOPLE.labels), torch.device("cpu"))
    assert other is not None
    assert (other.input.color_order, other.input.size) == ("gray", (112, 112))


def test_the_input_that_was_said_is_the_best(bgr: Path) -> None:
    found = check_teacher(open_teacher(bgr, PATTERNS, "bgr,0..1"), PEOPLE)
    assert found.better is None
    with raises_naming(TeacherError, "bgr,0..255", "--teacher-input bgr,0..1"):
        check_teacher(open_teacher(bgr, PATTERNS, "bgr,0..255"), PEOPLE)


@pytest.mark.parametrize(
    ("factor", "bias", "facts"),
    [(0.0, 0.0, ("80 of 80",)), (0.0, 1.0, ("80", "1.0000000")), (1e38, 3e38, ("80", "NaN"))],
    ids=["zero", "constant", "infinite"],
)
def test_embeddings_that_are_none(factor: float, bias: float | None, facts: tuple[str, ...], tmp_path: Path) -> None:
    teacher = spoiled(tmp_path / "teacher.pt", factor, bias)
    for accept in (False, True):
        with raises_naming(TeacherError, PATTERNS, *facts):
            check_teacher(teacher, PEOPLE, accept=accept)


def test_people_that_are_not_told_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Images filed under any name: no network does better than chance."""
    teacher = open_teacher(make_pattern_teacher(tmp_path / "teacher.pt", rgb_in_minus_1_to_1), PATTERNS)
    mixed = dataclasses.replace(PEOPLE, labels=np.random.default_rng(0).permutation(PEOPLE.labels))
    with raises_naming(TeacherError, "chance", "40 people", "--accept-teacher"):
        check_teacher(teacher, mixed)
    check_teacher(teacher, mixed, accept=True)
    assert caplog.records[-1].levelno == logging.WARNING


@pytest.mark.parametrize(("right", "refused"), [(0, True), (3, False)])
def test_a_teacher_that_may_be_better_than_chance_is_only_warned_of(
    right: int, refused: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 16 people the first `right` are filed as they are: of 3 the interval of d-prime holds 0, and 1, too."""
    teacher = open_teacher(make_pattern_teacher(tmp_path / "teacher.pt", rgb_in_minus_1_to_1), PATTERNS)
    faces = make_faces(16, 2)
    labels = faces.labels.copy()
    mixed = labels >= right
    labels[mixed] = np.random.default_rng(1).permutation(labels[mixed])
    faces = dataclasses.replace(faces, labels=labels)
    own = check_teacher(teacher, faces, accept=True).separation
    assert own is not None
    assert own.errors_above_chance < 2
    assert (own.d_prime + 2 * own.error < 1) == refused
    assert caplog.records[-1].levelno == logging.WARNING
    if refused:
        with raises_naming(TeacherError, "chance", "16 people", "--accept-teacher"):
            check_teacher(teacher, faces)
    else:
        check_teacher(teacher, faces)


@pytest.mark.parametrize("network", [TEACHER, PATTERNS])
@pytest.mark.parametrize("faces", [(40, 2), (40, 1), (1, 40), (2, 1), (1, 1)], ids=str)
def test_an_untrained_teacher_may_be_tried(network: str, faces: tuple[int, int], tmp_path: Path) -> None:
    for seed in range(2):
        torch.save(randomize(find_backbone(network).build(), seed=seed).state_dict(), tmp_path / "teacher.pt")
        check_teacher(open_teacher(tmp_path / "teacher.pt", network), make_faces(*faces))


def test_faces_of_nobody_in_particular(tmp_path: Path) -> None:
    """One image each: a mirrored view stands for the second, and says too little to refuse a teacher."""
    teacher = spoiled(tmp_path / "teacher.pt", 1.0)
    found = check_teacher(teacher, make_faces(40, 1))
    assert (found.views, found.identities, found.images) == (True, 40, 80)
    few = check_teacher(teacher, make_faces(3, 1))
    assert few.separation is None
    names(few, "3 faces")


def test_nothing_is_drawn_from_torch_and_nothing_is_changed(bgr: Path) -> None:
    teacher = open_teacher(bgr, PATTERNS)
    state, weights = torch.get_rng_state(), {key: value.clone() for key, value in teacher.network.state_dict().items()}
    check_teacher(teacher, PEOPLE, accept=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[key]) for key, value in teacher.network.state_dict().items())


@pytest.mark.parametrize(("sizes", "people"), [([2] * 200, 64), ([1] * 50 + [5] * 20, 20), ([30] * 16, 16)])
def test_a_sample_has_two_images_or_more_of_each(sizes: list[int], people: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    chosen = choose_sample(labels)
    counts = np.bincount(labels[chosen])
    assert len(np.unique(chosen)) == len(chosen) <= SAMPLE_IMAGES
    assert (counts > 0).sum() == people
    assert counts[counts > 0].min() >= 2


def any_size() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 16))


def test_a_size_that_nothing_says_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(randomize(any_size()).state_dict(), tmp_path / "teacher.pt")
    check_teacher(open_teacher(tmp_path / "teacher.pt", f"{__name__}:any_size"), PEOPLE, accept=True)
    names(caplog.records[0].getMessage(), "112x112", "--teacher-input 160x160", "input_size")
