"""A row of the table of targets: what is true of one target at run time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from efq.runtime.artifact.folder import Artifact
from efq.runtime.artifact.model_check import ModelCheck, check_model
from efq.runtime.backends.model import Model
from efq.runtime.progress import ShowProgress, no_progress

if TYPE_CHECKING:  # a service asks no target what it needs
    from efq.runtime.machine.hardware import Hardware, Need

AUTOMATIC = "auto"
"""The backend that is asked for where none is named."""

DEFAULT_TOLERANCE = 0.01
"""What the runtimes' different rounding explains, and no more (docs/decisions/0041)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenOptions:
    """How an artifact is to be opened: what `Embedder.open` takes.

    device: one of the target's kinds, "cuda" perhaps with a number ("cuda:1"). threads: the most worker threads of one
    call on the CPU, None for every CPU the process may run on. backend: a runtime on the CPU, or "auto". tolerance:
    the difference of cosines within which another backend may serve. rebuild: build what does not fit this machine
    again. progress: shown while that takes long. lean: hold less memory between calls, for a little time of each.
    is_inherited: the backend was chosen by another process, which said what there is to say of it.
    """

    device: str
    threads: int | None = None
    backend: str = AUTOMATIC
    tolerance: float = DEFAULT_TOLERANCE
    rebuild: bool = False
    progress: ShowProgress = no_progress
    lean: bool = False
    is_inherited: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """What is true of one target.

    devices: kinds of device its artifacts run on ("cpu", "cuda"), the first is the default.
    backends: runtimes on the CPU; the numbers of its artifacts are checked with the first, and the others may serve
    where they are faster.
    open: loads the verified artifact; raises what `Embedder.open` says.
    needs: what this machine has and lacks, for efq-doctor.
    exporter: "package.module:ATTRIBUTE", an `efq.export.targets.ExportTarget`, which only `efq.export` loads.
    packages: distributions whose versions an artifact for it records besides the usual ones.
    check_model: raises IncompatibleArtifactError for bytes of a model.onnx that its runtimes must not be given, before
    they are; a target whose graphs hold other operators than EFQ's own says so itself. It gives the model that it read,
    or None.
    symmetric_activations: whether its graphs hold no others; students are trained for one or the other kind.
    """

    name: str
    devices: tuple[str, ...]
    backends: tuple[str, ...]
    open: Callable[[Target, Artifact, OpenOptions], Model]
    needs: Callable[[Target, Hardware], tuple[Need, ...]]
    exporter: str
    packages: tuple[str, ...] = ()
    check_model: ModelCheck = check_model
    symmetric_activations: bool = False
