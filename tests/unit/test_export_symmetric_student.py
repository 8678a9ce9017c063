"""A student in TensorRT's form: unchanged when it was trained so, requantized otherwise."""

from __future__ import annotations

import pytest
import torch
from messages import raises_naming
from networks import NETWORKS, make_student, random_images, randomize

from efq.export.targets.tensorrt.symmetric_student import symmetric_form
from efq.runtime.errors import UsageError
from efq.toolchain.graph.operations import Maximum
from efq.toolchain.graph.traversal import calls, producer
from efq.toolchain.quantizers import ActivationQuantizer

IMAGES = random_images(16, seed=3)


def quantizers(network: torch.fx.GraphModule) -> dict[str, ActivationQuantizer]:
    return {str(node.target): module for node, module in calls(network, ActivationQuantizer)}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_symmetric_student_only_gets_float16_scales(name: str) -> None:
    student = make_student(randomize(NETWORKS[name]()), symmetric_activations=True)
    form, change = symmetric_form(student, IMAGES.numpy())
    assert change is None
    before, after = quantizers(student.network), quantizers(form.network)
    assert set(before) == set(after)
    for key, quantizer in after.items():
        scale = quantizer.scale.detach()
        torch.testing.assert_close(scale, scale.half().float(), rtol=1e-6, atol=0)
        torch.testing.assert_close(scale, before[key].scale.detach(), rtol=2**-11, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("activation", ["prelu", "relu"])
def test_any_other_is_requantized(name: str, activation: str) -> None:
    """The same float function, int8 with zero point 0 where read, ranges as wide as those they replace."""
    student = make_student(randomize(NETWORKS[name]()), activation=activation)
    before = quantizers(student.network)
    form, change = symmetric_form(student, IMAGES.numpy())
    assert change is not None
    assert not list(calls(form.network, Maximum))
    after = quantizers(form.network)
    assert change.quantizers == len(after) <= len(before)
    assert all(quantizer.signed and not quantizer.integer_zero_point for quantizer in after.values())
    assert 1.0 <= change.widest_step_ratio <= 2.1
    assert change.mean_cosine > 0.98
    assert student.network is not form.network
    for quantizer in (*before.values(), *after.values()):
        quantizer.enabled = False
    with torch.no_grad():
        torch.testing.assert_close(form.network(IMAGES), student.network(IMAGES), rtol=1e-4, atol=1e-4)


def test_an_unsigned_range_is_halved_in_steps() -> None:
    """0 .. 255 steps become 0 .. 127 of 255 / 127 times the size."""
    student = make_student(randomize(NETWORKS["convolution-head"]()), activation="relu")
    form, change = symmetric_form(student, IMAGES.numpy())
    assert change is not None
    old = {str(producer(n).target): m for n, m in calls(student.network, ActivationQuantizer) if not m.signed}
    new = {str(n.all_input_nodes[0].target): m for n, m in calls(form.network, ActivationQuantizer)}
    (source,) = old
    (relu,) = (name for name in new if name.endswith("_relu"))
    torch.testing.assert_close(new[relu].scale.detach(), old[source].scale.detach() * 255 / 127, rtol=1e-3, atol=0)


def test_few_bits_are_refused() -> None:
    student = make_student(randomize(NETWORKS["bottleneck"]()), activation_bits=6)
    with raises_naming(UsageError, "8-bit", "6-bit", "symmetric_activations"):
        symmetric_form(student, IMAGES.numpy())
