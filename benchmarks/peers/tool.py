"""The one door of tools: what makes networks of a float teacher, or only opens some, to be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.peer import Peer
from efq.benchmarks.peers.spec import PeerSpec

if TYPE_CHECKING:
    from efq.benchmarks.peers.float_teacher import FloatTeacher


class PeerOpener(Protocol):
    """Opens networks of one kind."""

    @property
    def name(self) -> str:
        """The kind: `PeerSpec.kind` of what it opens."""

    def open(self, spec: PeerSpec, threads: int) -> Peer:
        """Open the network on `threads` threads; imports its runtime only. Raises what opening it raises."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A network to compare, which `opener` opens. `is_float`: it computes the teacher's own function.

    multiply_adds: those an artifact runs for one image, student: a hash that all artifacts of a student share; None for
    others.
    """

    spec: PeerSpec
    opener: PeerOpener
    description: str
    is_float: bool = False
    is_artifact: bool = False
    multiply_adds: int | None = None
    student: str | None = None

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.spec.name

    def open(self, threads: int) -> Peer:
        """Load it on `threads` threads."""
        return self.opener.open(self.spec, threads)


@runtime_checkable
class PeerTool(PeerOpener, Protocol):
    """A tool a user could take instead of EFQ; packages offer others in the entry-point group `efq.peers`.

    Its module is imported wherever it opens a network, so it imports what the tool needs when it is used.
    """

    def require(self) -> None:
        """Raise MissingDependencyError unless every package it needs is installed."""

    def candidates(self, teacher: FloatTeacher, calibration: NDArray[np.uint8], folder: Path) -> Iterable[Candidate]:
        """What it makes of the teacher, calibrated on uint8 faces (N, H, W, 3) RGB where it is.

        Files go into `folder`, which is empty and the tool's own.
        """


@runtime_checkable
class RunsElsewhere(Protocol):
    """A tool whose networks run in a process of their own, which takes long to be ready."""

    def run_here(self, spec: PeerSpec, images: NDArray[np.uint8]) -> None:
        """Open the network in this process instead, on one thread, and run it once on images (N, H, W, 3)."""


def teacher_spec(teacher: FloatTeacher, name: str, kind: str, path: Path, *, precision: str | None = None) -> PeerSpec:
    """A network `name` with the teacher's float input, normalized alike, that the tool `kind` opens from `path`."""
    return PeerSpec(
        name=name,
        kind=kind,
        path=str(path.resolve()),
        precision=precision,
        backbone=teacher.backbone,
        teacher_input=teacher.teacher_input,
        mean=teacher.normalization.mean,
        std=teacher.normalization.std,
    )
