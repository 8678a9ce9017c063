"""Batches made ahead by a thread are those made when they are asked for."""

from __future__ import annotations

import threading

import numpy as np
import torch
from networks import make_faces

from efq.toolchain.data import Augmentation, IdentityBalancedSampler
from efq.toolchain.distillation.batches import Batches
from efq.toolchain.distillation.processes import Processes

FACES = make_faces()


def make(*, ahead: bool, seed: int = 3) -> Batches:
    sampler = IdentityBalancedSampler(FACES.labels, identities_per_batch=4, images_per_identity=2, seed=seed)
    processes = Processes(rank=0, world_size=1, device=torch.device("cpu"))
    return Batches(FACES, sampler, Augmentation(), seed=seed, processes=processes, ahead=ahead)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("efq-batches")]


def test_ahead_and_when_asked_for_are_the_same_batches() -> None:
    early, late = make(ahead=True), make(ahead=False)
    for step in (0, 1, 2, 3, 9, 10, 4, 4):  # over the end of an epoch of three batches; back, as after a resume
        places, views = early.at(step)
        wanted_places, wanted_views = late.at(step)
        np.testing.assert_array_equal(places, wanted_places)
        assert torch.equal(views, wanted_views)
        assert views.dtype == torch.uint8
    early.close()
    late.close()


def test_the_thread_ends_with_the_run() -> None:
    batches = make(ahead=True)
    batches.at(0)
    assert threads() != []
    batches.close()
    assert threads() == []
    assert not torch.equal(make(ahead=False).at(0)[1], make(ahead=False, seed=4).at(0)[1])


def test_on_a_cpu_there_is_no_thread() -> None:
    sampler = IdentityBalancedSampler(FACES.labels, identities_per_batch=4, images_per_identity=2)
    processes = Processes(rank=0, world_size=1, device=torch.device("cpu"))
    batches = Batches(FACES, sampler, Augmentation(), seed=0, processes=processes)
    batches.at(0)
    assert threads() == []
    batches.close()
