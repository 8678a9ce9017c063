"""A float network to learn from, with what it expects of a face and what it may be used for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from efq.runtime.artifact.contract import InputContract
from efq.runtime.faces.normalization import Normalization
from efq.runtime.reading import sha256_file
from efq.toolchain.teachers.normalized_network import NormalizedNetwork
from efq.toolchain.teachers.teacher_input import ColorOrder, TeacherInput

Verify = Callable[[TeacherInput, NDArray[np.uint8]], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A float network that students learn from, in eval mode and without gradients; made by `open_teacher`.

    name: of the network. network: float32 (N, 3, H, W), normalized RGB -> float32 (N, d), raw embeddings.
    normalized: the same from uint8 (N, H, W, 3) RGB. contract: the images it takes. licence: of its weights.
    licence_source: where that comes from, as `Lineage` has it. provenance: a line on where the weights come from.
    path, sha256: of its file. color_order: that its weights were trained on; `network` takes RGB all the same.
    size_known: whether its format says the size of its images, or they have one that no other fits. declared_input:
    what the user said it was trained on, None where nothing was said. normalization_known: as `size_known`.
    notes: what its format says of how it was read. verify: compares it with its file on uint8 (N, H, W, 3) RGB images,
    as the file takes them by that input; raises CheckpointError where they differ. None where a format has no other
    way to compute the file.
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
    normalization_known: bool = True
    declared_input: TeacherInput | None = None
    licence_source: str | None = None
    provenance: str | None = None
    notes: tuple[str, ...] = ()
    verify: Verify | None = None

    @property
    def input(self) -> TeacherInput:
        """What it was trained to be fed."""
        return TeacherInput(
            color_order=self.color_order,
            normalization=self.normalization,
            size=(self.contract.height, self.contract.width),
            alignment=self.contract.alignment,
        )

    @classmethod
    def of_network(
        cls,
        network: nn.Module,
        *,
        name: str,
        normalization: Normalization | None,
        path: Path,
        licence: str = "unknown",
        contract: InputContract | None = None,
        color_order: ColorOrder = "rgb",
        licence_source: str | None = None,
        provenance: str | None = None,
        notes: tuple[str, ...] = (),
        verify: Verify | None = None,
    ) -> Self:
        """What a `TeacherFormat` returns of a `network` as it is in the file `path`; `open_teacher` tries and feeds it.

        `network` takes float32 (N, 3, H, W) in `color_order`, or (N, 1, H, W) of gray. `normalization` is that of R, G
        and B; None where the file cannot say it, and the user is asked. `contract` None is where it cannot say the
        size. Changes `network` in place: eval mode, and gradients off.
        """
        network.eval().requires_grad_(False)
        known = normalization or Normalization(mean=(127.5,) * 3, std=(127.5,) * 3)
        return cls(
            name=name,
            network=network,
            normalized=NormalizedNetwork(network, known.mean, known.std).eval(),
            normalization=known,
            contract=contract or InputContract(),
            licence=licence,
            path=path,
            sha256=sha256_file(path, expected="a teacher's checkpoint"),
            color_order=color_order,
            size_known=contract is not None,
            normalization_known=normalization is not None,
            licence_source=licence_source,
            provenance=provenance,
            notes=notes,
            verify=verify,
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
        """The network in `path`, by `Teacher.of_network`; `backbone` names it where the user says it, not the file.

        Raises CheckpointError for a damaged file, UsageError for an unknown backbone.
        """
