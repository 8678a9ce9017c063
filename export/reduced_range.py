"""Weights on a 7-bit grid, for CPUs whose 8-bit products saturate (efq.runtime.backends.saturation)."""

from __future__ import annotations

import dataclasses

from efq.runtime.backends.cpu import REDUCED_RANGE
from efq.toolchain.operations import WEIGHTED, ChannelAffine
from efq.toolchain.quantizers import WeightQuantizer
from efq.toolchain.student import Student, build_graph, describe_graph

BITS = 7


def reduce_range(student: Student) -> Student:
    """A copy of `student` whose weights of more than 7 bits are quantized anew to 7, with the scales of least error.

    Its recipe says so; the student is left as it is.
    """
    network = build_graph(describe_graph(student.network))
    network.load_state_dict(student.network.state_dict())
    for module in network.modules():
        if isinstance(module, WEIGHTED) and module.weight_quantizer is not None and module.weight_quantizer.bits > BITS:
            weight = module.weight[:, None] if isinstance(module, ChannelAffine) else module.weight
            module.weight_quantizer = WeightQuantizer(module.weight.shape[0], BITS)
            module.weight_quantizer.start_from(weight)
    bits = {key: min(student.recipe[key], BITS) for key in ("weight_bits", "edge_weight_bits")}
    return dataclasses.replace(student, network=network.eval(), recipe={**student.recipe, **bits, REDUCED_RANGE: True})
