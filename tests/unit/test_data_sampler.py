from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import raises_naming

from efq.runtime.errors import UsageError
from efq.toolchain.data import IdentityBalancedSampler

LABELS = np.repeat(np.arange(200), np.random.default_rng(0).choice([1, 1, 1, 2, 5, 30], 200))


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=40),
    identities=st.integers(1, 4),
    images=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_epoch_holds_every_image_and_no_batch_repeats_one(
    sizes: list[int], identities: int, images: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    if identities * images > len(labels):
        with raises_naming(UsageError, len(labels), identities, images):
            IdentityBalancedSampler(labels, identities_per_batch=identities, images_per_identity=images)
        return
    sampler = IdentityBalancedSampler(labels, identities_per_batch=identities, images_per_identity=images, seed=seed)
    batches = [sampler.batch(step) for step in range(sampler.batches_per_epoch)]
    for batch in batches:
        assert len(np.unique(batch)) == len(batch) == identities * images
    epoch = np.concatenate(batches)
    assert sorted(epoch[: len(labels)].tolist()) == list(range(len(labels)))
    assert epoch[len(labels) :].tolist() == epoch[: len(epoch) - len(labels)].tolist()


def test_images_of_one_identity_come_in_groups() -> None:
    sampler = IdentityBalancedSampler(LABELS, identities_per_batch=16, images_per_identity=4)
    sequence = np.concatenate([sampler.batch(step) for step in range(sampler.batches_per_epoch)])[: len(LABELS)]
    groups = 1 + int((np.diff(LABELS[sequence]) != 0).sum())
    expected = sum(-(-size // 4) for size in np.bincount(LABELS))
    assert groups <= expected


def test_is_a_pure_function_of_seed_and_step() -> None:
    def sampler(seed: int) -> IdentityBalancedSampler:
        return IdentityBalancedSampler(LABELS, identities_per_batch=8, images_per_identity=4, seed=seed)

    forward = [sampler(3).batch(step) for step in range(60)]
    walked = sampler(3)
    for step in reversed(range(60)):
        np.testing.assert_array_equal(walked.batch(step), forward[step])
    assert not np.array_equal(sampler(4).batch(0), forward[0])
    per_epoch = walked.batches_per_epoch
    assert not np.array_equal(walked.batch(0), walked.batch(per_epoch))


def test_processes_share_every_batch() -> None:
    whole = IdentityBalancedSampler(LABELS, identities_per_batch=8, images_per_identity=4, seed=1)
    parts = [
        IdentityBalancedSampler(LABELS, identities_per_batch=8, images_per_identity=4, seed=1, rank=rank, world_size=2)
        for rank in range(2)
    ]
    for step in (0, 5, 33):
        np.testing.assert_array_equal(np.concatenate([part.batch(step) for part in parts]), whole.batch(step))


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"identities_per_batch": 0, "images_per_identity": 4}, (len(LABELS), 0, 4)),
        ({"identities_per_batch": 3, "images_per_identity": 3, "world_size": 2}, (2, 9)),
        ({"identities_per_batch": 2, "images_per_identity": 2, "rank": 2, "world_size": 2}, (2,)),
    ],
)
def test_wrong_sizes_are_errors(options: dict[str, int], facts: tuple[int, ...]) -> None:
    with raises_naming(UsageError, *facts):
        IdentityBalancedSampler(LABELS, **options)  # type: ignore[arg-type]
