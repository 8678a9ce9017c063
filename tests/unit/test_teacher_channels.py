"""Channels of a teacher that nothing gets through are seen before any work."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from messages import names, raises_naming
from networks import TEACHER, make_faces, make_teacher, randomize, teacher_network
from torch import nn

from efq.runtime.errors import TeacherError
from efq.toolchain.teachers import open_teacher
from efq.toolchain.teachers.dead_channels import DeadChannels, check_channels
from efq.toolchain.teachers.teacher_check import check_teacher


@torch.no_grad()
def damaged(share: float) -> nn.Module:
    """A network whose first filters, and BatchNorm's first scales, of each layer are zeros."""
    network = randomize(teacher_network())
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.weight[: round(share * len(module.weight))] = 0
    return network


def test_counted() -> None:
    assert DeadChannels.of_network(damaged(0.0)).dead == 0
    found = DeadChannels.of_network(damaged(0.5))
    assert found.share == pytest.approx(0.47, abs=0.03)  # all but the last BatchNorm
    assert found.layers["stem.0"] == found.layers["stem.1"] == (4, 8)
    network = randomize(teacher_network())
    network.get_buffer("stem.1.running_var")[2] = 0.0  # never saw a change
    network.get_parameter("fc.weight").data *= 1e-20  # small, but not beside each other
    assert DeadChannels.of_network(network).layers == {"stem.1": (1, 8)}


def test_few_are_named_and_most_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    check_channels(damaged(0.0), "tiny", accept=False)
    assert not caplog.records
    check_channels(damaged(0.25), "tiny", accept=False)
    assert caplog.records[-1].levelno == logging.WARNING
    names(caplog.text, "tiny", "2 of 8")
    with raises_naming(TeacherError, "tiny", "stem.0: 7 of 8", "--accept-teacher"):
        check_channels(damaged(0.875), "tiny", accept=False)
    check_channels(damaged(0.875), "tiny", accept=True)


def test_before_any_work(tmp_path: Path) -> None:
    make_teacher(tmp_path / "teacher.pt")
    torch.save(damaged(0.875).state_dict(), tmp_path / "teacher.pt")
    with raises_naming(TeacherError, TEACHER, "--accept-teacher"):
        check_teacher(open_teacher(tmp_path / "teacher.pt", TEACHER), make_faces(2, 2))
