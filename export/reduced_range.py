"""Weights on a 7-bit grid, whose products are exact on every CPU (docs/decisions/0040-seven-bit-weights.md)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from efq.export.changes import StudentChanges
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.errors import UsageError
from efq.toolchain.graph.description import clone_network
from efq.toolchain.graph.operations import WEIGHTED, ChannelAffine
from efq.toolchain.networks import torch_embedding
from efq.toolchain.quantizers import WeightQuantizer
from efq.toolchain.recipes.recipe import REDUCED_BITS
from efq.toolchain.student import Student


@dataclasses.dataclass(frozen=True, kw_only=True)
class RangeReduction:
    """What 7-bit weights changed in a student with 8-bit ones: in how many layers, its cosines to that student."""

    layers: int
    least_cosine: float
    mean_cosine: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"widest_weight_bits": REDUCED_BITS, **dataclasses.asdict(self)}

    def __str__(self) -> str:
        return (
            f"requantized: 8-bit weights of {self.layers} layers to 7 bits; mean cosine to the student "
            f"{self.mean_cosine:.4f} on noise images, more on faces (efq-distill trains 7 bits, --full-range keeps 8, "
            "for CPUs with VNNI)"
        )


def weights_for(
    student: Student, images: NDArray[np.uint8], *, full_range: bool = False
) -> tuple[Student, StudentChanges]:
    """`student` with weights whose products the fast kernels of every CPU add exactly, and whether they are so.

    Weights of 8 bits are quantized anew to 7 unless `full_range` keeps them; what that changes is measured on `images`
    uint8 (N, H, W, 3). The student itself is left as it is. Raises UsageError for `full_range` where there is nothing
    to keep.
    """
    widest = student.widest_weight_bits
    if full_range and widest <= REDUCED_BITS:
        message = (
            f"expected a student with 8-bit weights for --full-range, found weights of at most {widest} bits: leave it "
            "out, or make the student with efq-distill --full-range"
        )
        raise UsageError(message)
    if full_range or widest <= REDUCED_BITS:
        return student, StudentChanges(reduced_range=not full_range)
    reduced, layers = reduce_range(student)
    embed = torch_embedding(student.network, torch.device("cpu"))
    cosines = (embed(images) * torch_embedding(reduced.network, torch.device("cpu"))(images)).sum(1)
    change = RangeReduction(layers=layers, least_cosine=float(cosines.min()), mean_cosine=float(cosines.mean()))
    return reduced, StudentChanges(reduced_range=True, requantized=change)


def as_exported(student: Student, manifest: Manifest) -> Student:
    """`student` with the weights that its artifact of `manifest` has."""
    return reduce_range(student)[0] if manifest.reduced_range else student


def reduce_range(student: Student) -> tuple[Student, int]:
    """A copy of `student` whose weights of more than 7 bits are quantized anew to 7, with the scales of least error.

    Also how many layers were changed. The student is left as it is.
    """
    network = clone_network(student.network)
    layers = 0
    for module in network.modules():
        if not isinstance(module, WEIGHTED) or module.weight_quantizer is None:
            continue
        if module.weight_quantizer.bits > REDUCED_BITS:
            weight = module.weight[:, None] if isinstance(module, ChannelAffine) else module.weight
            module.weight_quantizer = WeightQuantizer(module.weight.shape[0], REDUCED_BITS)
            module.weight_quantizer.start_from(weight)
            layers += 1
    return dataclasses.replace(student, network=network.eval()), layers
