"""Which of the usual inputs a network separates people best with."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from efq.runtime.faces.normalization import NORMALIZATIONS
from efq.toolchain.evaluation.figures.separation import Separation, measure_separation
from efq.toolchain.networks import torch_embedding
from efq.toolchain.teachers.color_channels import LUMINANCE
from efq.toolchain.teachers.teacher import Teacher
from efq.toolchain.teachers.teacher_input import COLOR_ORDERS, ColorOrder, TeacherInput

SIZES = ((160, 160), (224, 224))
"""Usual ones besides 112x112."""

_FIRST_IDENTITIES = 16

Sample = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (N, H, W, 3) and the identity of each, (N,)."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """An input, and what the network does with it."""

    input: TeacherInput
    separation: Separation


def best_other_input(teacher: Teacher, sample: Sample, device: torch.device) -> Candidate | None:
    """The usual input that separates the people of `sample` best, that of the teacher left out; None where none does.

    The normalizations are tried on the sample's first 16 identities; the best of them on all, with every color order
    (but for a network of gray images) and, where nothing says the size of its images, with the larger sizes it takes.
    """
    own = teacher.input
    images, labels = sample
    first = np.isin(labels, np.unique(labels)[:_FIRST_IDENTITIES])
    tried = _try(teacher, [own, *_other_normalizations(own)], (images[first], labels[first]), device)
    if not tried:
        return None
    best = tried[0].input
    colors = (own.color_order,) if own.color_order == "gray" else COLOR_ORDERS
    finalists = [dataclasses.replace(best, color_order=color) for color in colors if _is_uniform(best, color)]
    finalists += [dataclasses.replace(best, size=size, alignment="") for size in other_sizes(teacher)]
    whole = _try(teacher, [wanted for wanted in finalists if not wanted.same_as(own)], sample, device)
    return whole[0] if whole else None


def embedding_with(
    teacher: Teacher, wanted: TeacherInput, device: torch.device
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Embed uint8 (N, H, W, 3) RGB as if the teacher had been trained on `wanted`; of unit length.

    The teacher stays as it is.
    """
    network = _Fed(teacher, wanted)
    return torch_embedding(network, device)


def _other_normalizations(own: TeacherInput) -> list[TeacherInput]:
    usual = [dataclasses.replace(own, normalization=known) for known in NORMALIZATIONS.values()]
    usual = [wanted for wanted in usual if _is_uniform(wanted, own.color_order)]
    return [wanted for wanted in usual if not wanted.same_as(own)]


def _is_uniform(wanted: TeacherInput, color: ColorOrder) -> bool:
    """Whether its normalization is one of images in that order: gray has the same for all channels."""
    normalization = wanted.normalization
    return color != "gray" or len(set(normalization.mean)) == len(set(normalization.std)) == 1


@torch.inference_mode()
def other_sizes(teacher: Teacher) -> list[tuple[int, int]]:
    """Those of `SIZES` that the network takes; none where its format says its size."""
    found: list[tuple[int, int]] = []
    if teacher.size_known:
        return found
    parameter = next(teacher.network.parameters(), torch.zeros(1))
    for size in SIZES:
        with contextlib.suppress(RuntimeError, ValueError, TypeError):
            teacher.network(torch.zeros(1, 3, *size, device=parameter.device))
            found.append(size)
    return found


def _try(teacher: Teacher, inputs: Sequence[TeacherInput], sample: Sample, device: torch.device) -> list[Candidate]:
    """Those that give finite embeddings, the best first."""
    images, labels = sample
    found = []
    for wanted in inputs:
        embeddings = embedding_with(teacher, wanted, device)(images)
        if np.isfinite(embeddings).all():
            found.append(Candidate(input=wanted, separation=measure_separation(embeddings, labels)))
    return sorted(found, key=lambda one: one.separation.d_prime, reverse=True)


class _Fed(nn.Module):
    """uint8 (N, H, W, 3) RGB -> embeddings (N, d) of the teacher's network on another input than its own."""

    mean: Tensor
    std: Tensor

    luminance: Tensor

    def __init__(self, teacher: Teacher, wanted: TeacherInput) -> None:
        super().__init__()
        self.network, self.size = teacher.network, wanted.size
        changed = wanted.color_order != teacher.color_order
        self.gray = changed and wanted.color_order == "gray"
        self.reverse = changed and not self.gray
        self.register_buffer("luminance", torch.tensor(LUMINANCE).reshape(1, 3, 1, 1))
        self.memory_format = teacher.normalized.memory_format
        normalization = wanted.normalization
        self.register_buffer("mean", torch.tensor(normalization.mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(normalization.std).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float()
        if pixels.shape[2:] != self.size:
            pixels = functional.interpolate(pixels, self.size, mode="bilinear", align_corners=False)
        pixels = (pixels - self.mean) / self.std
        pixels = pixels.flip(1) if self.reverse else pixels
        pixels = (pixels * self.luminance).sum(1, keepdim=True).expand(-1, 3, -1, -1) if self.gray else pixels
        result: Tensor = self.network(pixels.contiguous(memory_format=self.memory_format))
        return result
