"""A runtime to export for: what it wants of a student, how its graph is written, what its numbers have to be."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from efq.export.changes import StudentChanges
from efq.export.coverage.report import CoverageReport
from efq.export.engine_settings import EngineSettings
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.errors import UsageError
from efq.runtime.faces.interface import USUAL, Interface
from efq.runtime.probe.probe import LEAST_COSINE
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.student import Student


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What a user asks of an export.

    full_range: keep all 8 bits of weights where a target would take 7. allow_float: write an artifact although
    multiply-adds run in float. interface: the graph's surface. engine: for targets that build one.
    """

    full_range: bool = False
    allow_float: bool = False
    interface: Interface = USUAL
    engine: EngineSettings = dataclasses.field(default_factory=EngineSettings)
    progress: ShowProgress = no_progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A student for a target: as the artifact describes it, the `form` its graph is written from, and the changes."""

    student: Student
    form: Student
    changes: StudentChanges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """What the checks of a graph gave: what parity.json says of them, and the coverage, None where it was not measured.

    engine: version, build seconds, plan bytes and layers of the engine built, for targets that have one.
    add_files: writes what else belongs into the artifact's folder, once its model is there.
    """

    parity: Mapping[str, Any]
    coverage: CoverageReport | None
    engine: Mapping[str, Any] | None = None
    add_files: Callable[[Path], None] = lambda folder: None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportTarget(abc.ABC):
    """The export side of a target; `name` is that of its row in `efq.runtime.targets`.

    opset, ir_version: of the ONNX graph. products_saturate: on some CPUs the runtime's fast kernels add products of
    bytes in 16 bits that saturate, so that weights take 7 bits unless asked otherwise. builds_engine: whether the
    runtime builds an engine of the graph. probe_cosine: the least cosine of the probe's embedding to the expected one,
    on any machine: what the runtime's rounding explains.
    has_interfaces: whether `check` and the runtime take graphs of any surface. triton_backend: of Triton Inference
    Server, onnxruntime, openvino or tensorrt; none where none runs its artifacts.
    """

    name: str
    description: str
    opset: int
    ir_version: int
    products_saturate: bool = False
    builds_engine: bool = False
    probe_cosine: float = LEAST_COSINE
    has_interfaces: bool = False
    triton_backend: str = ""

    @abc.abstractmethod
    def prepare(self, student: Student, images: NDArray[np.uint8], options: ExportOptions) -> Prepared:
        """`student` as the target takes it; what that changes is measured on `images` uint8 (N, H, W, 3).

        Raises UsageError for a student or options that do not go with the target.
        """

    @abc.abstractmethod
    def write(self, form: Student) -> onnx.ModelProto:
        """The graph of a prepared student. Raises UsageError for what it cannot hold."""

    @abc.abstractmethod
    def check(
        self,
        prepared: Prepared,
        model: onnx.ModelProto,
        images: NDArray[np.uint8],
        folder: Path,
        options: ExportOptions,
    ) -> Checked:
        """Run `model` in the target's runtime against the student, on `images` uint8 (N, H, W, 3).

        `model` has the surface of `options.interface`, the usual one unless the target `has_interfaces`.
        `folder` is for files of its own, such as an engine. Raises CoverageError when multiply-adds run in float and
        that was not allowed, ParityError when the embeddings are not the student's.
        """

    def embed_probe(
        self,
        prepared: Prepared,
        model: onnx.ModelProto,
        images: NDArray[np.uint8],
        folder: Path,
        options: ExportOptions,
    ) -> NDArray[np.float32] | None:
        """The embeddings (1, d) of `images` uint8 (1, H, W, 3) where the artifact is served; None stores no probe.

        `folder` and `options` are those that `check` was given.
        """
        return None

    def bit_sentences(self, manifest: Manifest) -> list[str]:
        """What the bits of an artifact buy on this target; none where weights and activations both take 8."""
        if manifest.bits["activations"] < 8:
            return ["Activations of fewer than 8 bits are carried and clamped in bytes: they save no time."]
        return []

    def card_sentences(self, manifest: Manifest) -> list[str]:
        """The limits of an artifact on this target that its model card names, besides `bit_sentences`."""
        return []

    def check_interface(self, interface: Interface) -> None:
        """Raises UsageError for a surface that the target's graphs cannot have."""
        if not (interface.is_usual or self.has_interfaces):
            message = f"expected the interface {USUAL} for the target {self.name}, found {interface}: leave it out"
            raise UsageError(message)
        if self.builds_engine and interface.batch is not None:
            message = (
                f"expected a free batch for the target {self.name}, whose engine has its own, found {interface}: leave "
                f"out batch={interface.batch}; --batch gives the engine's"
            )
            raise UsageError(message)

    def refuse_full_range(self, options: ExportOptions) -> None:
        """Raises UsageError for `full_range` on a target that keeps all bits anyway."""
        if options.full_range:
            message = (
                f"expected a target on CPUs for --full-range, found {self.name}, which keeps all bits: leave it out"
            )
            raise UsageError(message)
