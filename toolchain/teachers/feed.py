"""Try a network as its format read it with the images it takes, and make it take RGB bytes of them."""

from __future__ import annotations

import dataclasses
import logging

import torch
from torch import nn

from efq.runtime.errors import CheckpointError, UsageError
from efq.runtime.faces.templates import alignment_of
from efq.toolchain.teachers.color_channels import taking_rgb
from efq.toolchain.teachers.declared_input import EXPECTED, DeclaredInput
from efq.toolchain.teachers.embedding_output import EmbeddingOutput, is_bare_embedding
from efq.toolchain.teachers.normalized_network import NormalizedNetwork
from efq.toolchain.teachers.teacher import Teacher
from efq.toolchain.teachers.teacher_input import TeacherInput

USUAL_SIZES = ((112, 112), (112, 96), (128, 128), (144, 144), (150, 150), (160, 160), (192, 192), (224, 224))
"""Height and width, tried in turn where nothing says which size a network takes."""

Size = tuple[int, int]

_logger = logging.getLogger(__name__)

_IMAGES = 2  # of a batch that a network must not have been made for one image of


def feed(teacher: Teacher, teacher_input: str | None) -> Teacher:
    """The teacher that a format read, tried and made to take RGB images; its `network` is changed in place.

    `teacher_input` is the text of `--teacher-input`, None where nothing was said. Raises CheckpointError for a network
    that gives no embedding for an image of the size said, or of any usual one; UsageError for another text, and where
    neither the format nor the text says the normalization.
    """
    declared = DeclaredInput(text="") if teacher_input is None else DeclaredInput.parse(teacher_input)
    if declared.normalization is None and not teacher.normalization_known:
        message = (
            f"expected what {teacher.path} was trained on, which its file does not say: add --teacher-input with a "
            f"normalization, and with what else differs from {teacher.color_order}: {EXPECTED}"
        )
        raise UsageError(message)
    default = teacher.input
    sizes = USUAL_SIZES if declared.size is None and not teacher.size_known else (declared.size or default.size,)
    taken = _fitting(teacher, declared, sizes)
    size, channels = taken.size, taken.channels
    default = dataclasses.replace(default, size=size, alignment=alignment_of(default.alignment, *size))
    if channels == 1:
        default = dataclasses.replace(default, color_order="gray")
    wanted = declared.completed(default)
    if channels == 1 and wanted.color_order != "gray":
        message = (
            f"expected --teacher-input gray for {teacher.name}, whose images have one channel, found {declared.text}"
        )
        raise UsageError(message)
    notes = teacher.notes
    if teacher_input is not None:
        said = f"input: {wanted}, as --teacher-input says"
        _logger.info("%s: %s", teacher.path.name, said)
        notes = (*notes, said)
    network = teacher.network if taken.as_it_is else EmbeddingOutput(teacher.network).eval()
    network = taking_rgb(network, wanted.color_order, channels=channels, size=size)
    height, width = size
    return dataclasses.replace(
        teacher,
        network=network,
        normalized=_normalized(network, wanted, teacher.name),
        normalization=wanted.normalization,
        contract=dataclasses.replace(teacher.contract, height=height, width=width, alignment=wanted.alignment),
        color_order=wanted.color_order,
        size_known=teacher.size_known or declared.size is not None or size != USUAL_SIZES[0],
        declared_input=None if teacher_input is None else wanted,
        notes=notes,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Taken:
    """A size and a number of channels that a network takes, and whether what it returns is the embedding."""

    size: Size
    channels: int
    as_it_is: bool


def _fitting(teacher: Teacher, declared: DeclaredInput, sizes: tuple[Size, ...]) -> _Taken:
    """The first of the sizes that the network takes. Raises CheckpointError where it takes none."""
    orders = (1, 3) if declared.color_order == "gray" else (3, 1)
    reasons: list[str] = []
    for size in sizes:
        for channels in orders:
            found = _try(teacher.network, channels, size)
            if not isinstance(found, str):
                return _Taken(size=size, channels=channels, as_it_is=found)
            reasons.append(found)
    height, width = sizes[0]
    message = (
        f"expected {teacher.name} to give embeddings, ({_IMAGES}, d), for {_IMAGES} images of {height}x{width} "
        f"(height x width): {reasons[0]}"
    )
    turned = (width, height)
    if len(sizes) == 1 and width != height and not isinstance(_try(teacher.network, orders[0], turned), str):
        message += f"; it takes {width}x{height}, which --teacher-input {width}x{height} says"
    elif len(sizes) > 1:
        message += "; say the size of its images with --teacher-input HEIGHTxWIDTH"
    raise CheckpointError(message)


@torch.no_grad()
def _try(network: nn.Module, channels: int, size: Size) -> bool | str:
    """Whether it returns embeddings of such images and nothing else; a text where it returns none."""
    try:
        found = network(torch.zeros(_IMAGES, channels, *size))
    except (Exception, SystemExit) as error:  # of the network's own code, too
        return next(iter(str(error).strip().splitlines()), type(error).__name__)
    return is_bare_embedding(found, _IMAGES)


@torch.no_grad()
def _normalized(network: nn.Module, wanted: TeacherInput, name: str) -> NormalizedNetwork:
    """Channels last, which is faster, unless the network views its tensors in a way that needs them contiguous."""
    normalized = NormalizedNetwork(network, wanted.normalization.mean, wanted.normalization.std).eval()
    height, width = wanted.size
    reason = ""
    for memory_format in (torch.channels_last, torch.contiguous_format):
        normalized.memory_format = memory_format
        normalized.to(memory_format=memory_format)  # type: ignore[call-overload]
        try:
            normalized(torch.zeros(1, height, width, 3, dtype=torch.uint8))
        except (RuntimeError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            continue
        return normalized
    message = f"expected {name} to embed RGB images of {height}x{width} (height x width): {reason}"
    raise CheckpointError(message)
