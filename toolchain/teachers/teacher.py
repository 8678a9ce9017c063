"""A float network to learn from, with what it expects of a face and what it may be used for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import CheckpointError
from efq.runtime.faces.normalization import Normalization
from efq.runtime.reading import sha256_file
from efq.toolchain.teachers.normalized_network import NormalizedNetwork
from efq.toolchain.teachers.reverse_colors import reverse_colors
from efq.toolchain.teachers.teacher_input import ColorOrder, TeacherInput


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A float network that students learn from, in eval mode and without gradients; made by `open_teacher`.

    name: of the network. network: float32 (N, 3, H, W), normalized RGB -> float32 (N, d), raw embeddings.
    normalized: the same from uint8 (N, H, W, 3) RGB. contract: the images it takes. licence: of its weights.
    path, sha256: of its file. color_order: that its weights were trained on; `network` takes RGB all the same.
    size_known: whether its format says the size of its images, or else 112x112 is only usual. declared_input: what the
    user said it was trained on, None where its format says it.
    """

    name: str
    network: nn.Module
    normalized: NormalizedNetwork
    normalization: Normalization
    contract: InputContract
    licence: str
    path: Path
    sha256: str
    color_order: ColorOrder = "rgb"
    size_known: bool = True
    declared_input: TeacherInput | None = None

    @property
    def input(self) -> TeacherInput:
        """What it was trained to be fed."""
        size = self.contract.height, self.contract.width
        return TeacherInput(color_order=self.color_order, normalization=self.normalization, size=size)

    def fed(self, declared: TeacherInput) -> Self:
        """The same weights taken as trained on `declared`; changes `network` in place where the color order differs.

        Raises CheckpointError for a network whose colors cannot be reversed, or that takes no images of that size.
        """
        height, width = declared.size
        contract = dataclasses.replace(self.contract, height=height, width=width)
        normalized = NormalizedNetwork(self.network, declared.normalization.mean, declared.normalization.std).eval()
        _choose_memory_format(normalized, self.name, contract)
        if declared.color_order != self.color_order:
            reverse_colors(self.network, height=height, width=width)
        return dataclasses.replace(
            self,
            normalized=normalized,
            normalization=declared.normalization,
            contract=contract,
            color_order=declared.color_order,
            size_known=True,
            declared_input=declared,
        )

    @classmethod
    def of_network(
        cls,
        network: nn.Module,
        *,
        name: str,
        normalization: Normalization,
        path: Path,
        licence: str = "unknown",
        contract: InputContract | None = None,
    ) -> Self:
        """The teacher of a `network` read from the file `path`: what a `TeacherFormat` returns.

        Changes `network` in place: eval mode, gradients off, and the memory format it runs in. Raises CheckpointError
        when it gives no embedding for a face of the contract.
        """
        network.eval().requires_grad_(False)
        size_known = contract is not None
        contract = contract or InputContract()
        normalized = NormalizedNetwork(network, normalization.mean, normalization.std).eval()
        _choose_memory_format(normalized, name, contract)
        return cls(
            name=name,
            network=network,
            normalized=normalized,
            normalization=normalization,
            contract=contract,
            licence=licence,
            path=path,
            sha256=sha256_file(path, expected="a teacher's checkpoint"),
            size_known=size_known,
        )


@runtime_checkable
class TeacherFormat(Protocol):
    """A kind of file that teachers come in; another package adds one as an entry point of the group `efq.teachers`.

    name: for messages.
    """

    name: str

    def recognizes(self, path: Path) -> bool:
        """Whether `path` is such a file, told cheaply and by its content where others share the suffix."""

    def open(self, path: Path, backbone: str | None) -> Teacher:
        """The teacher in `path`; `backbone` names its network where the user says it and the file does not.

        Raises CheckpointError for a damaged file, UsageError for an unknown backbone.
        """


@torch.no_grad()
def _choose_memory_format(normalized: NormalizedNetwork, name: str, contract: InputContract) -> None:
    """Channels last, which is faster, unless the network views its tensors in a way that needs them contiguous."""
    reason = ""
    for memory_format in (torch.channels_last, torch.contiguous_format):
        normalized.memory_format = memory_format
        normalized.to(memory_format=memory_format)  # type: ignore[call-overload]
        try:
            found = normalized(torch.zeros(1, contract.height, contract.width, 3, dtype=torch.uint8))
        except (RuntimeError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            continue
        if isinstance(found, Tensor) and found.dim() == 2:
            return
        reason = f"found {tuple(found.shape)}" if isinstance(found, Tensor) else f"found {type(found).__name__}"
    message = (
        f"expected {name} to give one embedding, (1, d), for one image of {contract.height}x{contract.width}: {reason}"
    )
    raise CheckpointError(message)
