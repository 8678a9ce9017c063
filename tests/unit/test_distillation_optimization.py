"""The optimizer's groups and the learning-rate schedule."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS, make_student, randomize

from efq.toolchain.distillation.muon import Muon
from efq.toolchain.distillation.optimization import make_optimizer, schedule, set_learning_rate
from efq.toolchain.graph.operations import QuantizedLinear
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import Student


def test_schedule_by_hand() -> None:
    """Ten of 110 steps of warm-up, then half a cosine from 1 to 0.01."""
    shares = [schedule(step, 110, 10 / 110) for step in range(111)]
    assert shares[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert shares[10] == 1.0
    assert shares[60] == pytest.approx(0.01 + 0.99 * 0.5)
    assert shares[110] == pytest.approx(0.01)
    assert shares[10:] == sorted(shares[10:], reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_schedule_of_very_short_runs(steps: int) -> None:
    assert all(0 < schedule(step, steps, 0.05) <= 1 for step in range(steps))


def is_full(student: Student, name: str) -> bool:
    """Whether the weight `name` is that of a linear layer or of a convolution with one group."""
    module = student.network.get_submodule(name.removesuffix(".weight"))
    return isinstance(module, QuantizedLinear) or getattr(module, "groups", 0) == 1


def test_rates_follow_the_size_of_each_tensor() -> None:
    """Muon has the matrices, AdamW the rest.

    A weight's rate is relative to its root mean square; the logarithm of a scale has its own; biases have no decay.
    """
    student = make_student(randomize(NETWORKS["bottleneck"]()), activation="prelu")
    recipe = Recipe(name="t", learning_rate=0.01, range_learning_rate=0.002, weight_decay=0.1, steps=10, warmup_share=0)
    optimizer = make_optimizer(student.network, recipe)
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    learned = {name: value for name, value in student.network.named_parameters() if value.requires_grad}
    assert set(groups) == {id(parameter) for parameter in learned.values()}
    set_learning_rate(optimizer, recipe, 0)
    for name, parameter in learned.items():
        group = groups[id(parameter)]
        size = float(parameter.detach().double().square().mean().sqrt())
        is_range = name.endswith((".log_scale", ".zero_point"))
        assert group["lr"] == pytest.approx(
            0.002 if is_range else 0.01 * max(size, 1e-4), rel=0.5 if size < 1e-2 else 1e-3
        )
        assert group["weight_decay"] == (0.1 if parameter.dim() > 1 else 0.0)
        assert len(group["params"]) == 1 or is_range
    muon, adamw = optimizer.parts
    by_part = [{id(value) for group in part.param_groups for value in group["params"]} for part in (muon, adamw)]
    assert isinstance(muon, Muon)
    assert by_part[0] == {id(learned[name]) for name in learned if name.endswith(".weight") and is_full(student, name)}
    assert not by_part[0] & by_part[1]
    set_learning_rate(optimizer, recipe, 9)
    assert all(group["lr"] < 0.1 * group["peak"] for group in optimizer.param_groups)


def test_a_network_without_quantizers() -> None:
    optimizer = make_optimizer(torch.nn.Linear(2, 2), Recipe(name="t"))
    assert len(optimizer.param_groups) == 2
