"""A look at a teacher before any work: whether it tells the user's people apart, with the input it is given."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import torch
from numpy.typing import NDArray

from efq.runtime.errors import TeacherError
from efq.toolchain.data import FaceSet, augment
from efq.toolchain.data.augmentation import Augmentation
from efq.toolchain.evaluation.figures.separation import Separation, measure_separation, refuse_collapsed
from efq.toolchain.teachers.candidate_inputs import Candidate, Sample, best_other_input, embedding_with, other_sizes
from efq.toolchain.teachers.dead_channels import check_channels
from efq.toolchain.teachers.teacher import Teacher

SAMPLE_IMAGES = 128
_LEAST_IDENTITIES = 16  # fewer give no figure worth a decision
_MOST_VIEWS = 64

# What refuses another input's teacher: a d-prime above its own by so many standard errors and so many times as large,
# and the cosine of strangers near 0, as it is of a trained network given what it was trained on. Random networks, whose
# d-primes differ among inputs by as much, have strangers at 0.2 and more (docs/decisions/0046-teacher-check.md).
_CLEARLY, _NOTABLY = 3.0, 2.0
_TIMES, _TIMES_NOTED = 1.05, 1.02
_VIEWS_TIMES = 1.5  # views of one picture say little about colors
_GOOD_D_PRIME = 2.5
_CHANCE_D_PRIME = 1.0  # the interval of one that is refused as no better than chance ends below
_STRANGERS = 0.2

_VIEWS = Augmentation(flip=1.0, low_resolution=0.5, gray=0.3)

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TeacherCheck:
    """What was seen: `separation` of `images` faces of `identities` people, None where these were too few.

    views: genuine pairs were not two images of a person but two views of an image. better: another input that
    separates notably better.
    """

    images: int
    identities: int
    views: bool
    separation: Separation | None
    better: Candidate | None

    def __str__(self) -> str:
        """For the log, the student's record and the model card."""
        if self.separation is None:
            return f"on {self.identities} faces: embeddings finite and different, too few faces for more"
        people = f"{self.identities} faces and a mirrored view of each" if self.views else f"{self.identities} people"
        return f"on {people}, {self.images} images: {describe(self.separation)}"


def describe(separation: Separation) -> str:
    """In a few words."""
    return (
        f"d-prime {separation.d_prime:.2f}, AUC {separation.auc:.4f}, mean cosine of genuine pairs "
        f"{separation.genuine:.2f} and of impostor pairs {separation.impostor:.2f}"
    )


def check_teacher(
    teacher: Teacher, faces: FaceSet, *, accept: bool = False, device: torch.device | None = None
) -> TeacherCheck:
    """Embed up to 128 of `faces`, two of each of 64 people, with the input the teacher is given and the usual ones.

    Raises TeacherError for embeddings that are not finite, zero or all alike, and unless `accept` for a teacher most of
    whose channels are dead, or that
    does not tell these people apart, or does so clearly better with another input. `device` None is where the network
    is; it stays there. Draws nothing from torch's random numbers.
    """
    chosen = choose_sample(faces.labels)
    images = np.array(faces.images[chosen])
    sample, views = _labelled(images, faces.labels[chosen])
    home = next((parameter.device for parameter in teacher.network.parameters()), torch.device("cpu"))
    _logger.info("looking at the teacher %s on %d of the faces", teacher.name, len(chosen))
    if teacher.verify is not None:
        teacher.verify(teacher.input, images)
    try:
        _warn_of_size(teacher)
        found = _look(teacher, sample, device or home, views=views)
    finally:
        teacher.network.to(home)
    check_channels(teacher.network, f"the teacher {teacher.name}", accept=accept)
    _judge(teacher, found, accept=accept)
    return found


def _look(teacher: Teacher, sample: Sample, device: torch.device, *, views: bool) -> TeacherCheck:
    images, labels = sample
    people = len(np.unique(labels))
    embeddings = embedding_with(teacher, teacher.input, device)(images)
    other = best_other_input(teacher, sample, device) if people >= _LEAST_IDENTITIES else None
    try:
        refuse_collapsed(embeddings, f"the teacher {teacher.name}", error_class=TeacherError)
    except TeacherError as error:
        if other is None or not _is_good(other.separation):
            raise
        message = f"{error}. It was fed {teacher.input}; with {_advice(other)}"
        raise TeacherError(message) from error
    own = measure_separation(embeddings, labels) if people >= _LEAST_IDENTITIES else None
    notable = other is not None and own is not None and _is_better(other.separation, own, views=views, notably=True)
    return TeacherCheck(
        images=len(images), identities=people, views=views, separation=own, better=other if notable else None
    )


def choose_sample(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places (n,) of up to 128 images: two of each of 64 people, more of each where there are fewer, else any."""
    generator = np.random.default_rng(0)
    counts = np.bincount(labels)
    people = generator.permutation(np.flatnonzero(counts >= 2))[: SAMPLE_IMAGES // 2]
    if len(people) < _LEAST_IDENTITIES:
        return np.sort(generator.permutation(len(labels))[:_MOST_VIEWS])
    each = SAMPLE_IMAGES // len(people)
    return np.sort(np.concatenate([generator.permutation(np.flatnonzero(labels == one))[:each] for one in people]))


def _labelled(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[Sample, bool]:
    """The images by person, or, where few people have two, each beside a mirrored and blurred view of its own."""
    if int((np.bincount(labels) >= 2).sum()) >= _LEAST_IDENTITIES:
        return (images, labels), False
    views = augment(images, np.random.default_rng(0), _VIEWS)
    return (np.concatenate([images, views]), np.tile(np.arange(len(images)), 2)), True


def _is_good(separation: Separation) -> bool:
    return separation.d_prime >= _GOOD_D_PRIME and abs(separation.impostor) <= _STRANGERS


def _advice(candidate: Candidate) -> str:
    return (
        f"{candidate.input} it has {describe(candidate.separation)}: if it was trained so, say "
        f"--teacher-input {candidate.input}"
    )


def _is_better(other: Separation, own: Separation, *, views: bool, notably: bool = False) -> bool:
    least = _VIEWS_TIMES if views else (_TIMES_NOTED if notably else _TIMES)
    return (
        _is_good(other)
        and other.d_prime >= least * own.d_prime
        and other.errors_above(own) >= (_NOTABLY if notably else _CLEARLY)
    )


def _warn_of_size(teacher: Teacher) -> None:
    others = other_sizes(teacher)
    if others:
        height, width = others[0]
        _logger.warning(
            "%s takes images of several sizes, and nothing says which it was trained on: taken for %dx%d; say another "
            "with --teacher-input %dx%d, or input_size of its factory",
            *(teacher.name, *teacher.input.size, height, width),
        )


def _judge(teacher: Teacher, found: TeacherCheck, *, accept: bool) -> None:
    own, better = found.separation, found.better
    what = f"{teacher.name} fed {teacher.input} {found}"
    if own is not None and better is not None:
        if not accept and _is_better(better.separation, own, views=found.views):
            message = (
                f"expected a teacher fed as it was trained, found that another input separates people better: {what}; "
                f"with {_advice(better)}, or keep yours with --accept-teacher"
            )
            raise TeacherError(message)
        _logger.warning("%s; with %s", what, _advice(better))
    elif own is not None and own.errors_above_chance < _NOTABLY:
        if not accept and not found.views and own.d_prime + _NOTABLY * own.error < _CHANCE_D_PRIME:
            message = (
                f"expected a teacher that tells people apart, found no better than chance: {what}. Check that the "
                "faces are aligned and each folder holds one person, and the teacher's weights and --teacher-input; "
                "or go on with --accept-teacher"
            )
            raise TeacherError(message)
        _logger.warning("the teacher does not tell people apart: %s", what)
    else:
        _logger.info("teacher %s", what)
