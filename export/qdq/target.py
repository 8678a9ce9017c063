"""What targets on CPUs share: a Q/DQ graph, checked in the runtime's kernels against the integer reference."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from efq.export.changes import StudentChanges
from efq.export.coverage.evidence import Evidence
from efq.export.coverage.report import coverage_report
from efq.export.qdq.build import build_qdq_model
from efq.export.qdq.passes.graph_pass import GraphPass
from efq.export.qdq.weighted import PACKED_BITS
from efq.export.reduced_range import weights_for
from efq.export.references.integer import IntegerReference
from efq.export.targets.target import Checked, ExportOptions, ExportTarget, Prepared
from efq.runtime.artifact.folder import MODEL_FILE
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.backends.model import Model
from efq.runtime.errors import ParityError
from efq.runtime.faces.interface import USUAL, Interface
from efq.toolchain.networks import torch_embedding
from efq.toolchain.recipes.recipe import FULL_BITS, REDUCED_BITS
from efq.toolchain.student import Student

COVERAGE_RUNS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class QdqTarget(ExportTarget):
    """A runtime that fuses Q/DQ graphs into integer kernels.

    passes: over the student's graph before it is written. least_cosine: between the student computed in integers and
    the artifact in its runtime; below it the export went wrong. A runtime that rounds as the reference does is held to
    0.999, another one to what rounding explains.
    """

    opset: int = 21
    ir_version: int = 10
    passes: tuple[GraphPass, ...] = ()
    least_cosine: float = 0.999

    @abc.abstractmethod
    def open_model(self, path: Path, *, reduced_range: bool, interface: Interface = USUAL) -> Model:
        """The model file in the target's runtime, on one thread; `reduced_range`: its weights have 7 bits or fewer.

        `interface` is given to a target that `has_interfaces` only.
        """

    @abc.abstractmethod
    def collect_evidence(self, path: Path, *, images: NDArray[Any], runs: int) -> Evidence:
        """What the runtime says it ran of the model file on `images` (N, H, W, 3), or what else its input takes."""

    def prepare(self, student: Student, images: NDArray[np.uint8], options: ExportOptions) -> Prepared:
        if not self.products_saturate:
            self.refuse_full_range(options)
            return Prepared(student=student, form=student, changes=StudentChanges())
        prepared, changes = weights_for(student, images, full_range=options.full_range)
        return Prepared(student=prepared, form=prepared, changes=changes)

    def write(self, form: Student) -> onnx.ModelProto:
        return build_qdq_model(form, passes=self.passes, opset=self.opset, ir_version=self.ir_version)

    def check(
        self,
        prepared: Prepared,
        model: onnx.ModelProto,
        images: NDArray[np.uint8],
        folder: Path,
        options: ExportOptions,
    ) -> Checked:
        path = folder / MODEL_FILE
        path.write_bytes(model.SerializeToString())
        interface = options.interface
        batch = interface.one_batch(images)
        coverage = coverage_report(self.collect_evidence(path, images=batch, runs=COVERAGE_RUNS))
        coverage.check(allow_float=options.allow_float)
        with contextlib.closing(self._open(path, prepared, interface)) as opened:
            least = _least_cosine(prepared.form, opened, images)
        if not least >= self.least_cosine:  # NaN too
            message = (
                f"expected the exported graph to give the student's embeddings, found a cosine of {least:.6f}: this "
                "CPU's integer kernels round or saturate differently (see docs/results.md), or the student file is "
                "damaged"
            )
            raise ParityError(message)
        return Checked(parity={"images": len(images), "least_cosine_to_integer_student": least}, coverage=coverage)

    def embed_probe(
        self,
        prepared: Prepared,
        model: onnx.ModelProto,
        images: NDArray[np.uint8],
        folder: Path,
        options: ExportOptions,
    ) -> NDArray[np.float32] | None:
        with contextlib.closing(self._open(folder / MODEL_FILE, prepared, options.interface)) as opened:
            return opened.run(images)

    def _open(self, path: Path, prepared: Prepared, interface: Interface) -> Model:
        reduced_range = prepared.changes.reduced_range is True
        if not self.has_interfaces:
            return self.open_model(path, reduced_range=reduced_range)
        return self.open_model(path, reduced_range=reduced_range, interface=interface)

    def bit_sentences(self, manifest: Manifest) -> list[str]:
        weights, reduced_range = manifest.bits["weights"], manifest.reduced_range
        sentences = []
        if weights <= PACKED_BITS:
            sentences.append(
                f"Weights of {PACKED_BITS} bits or fewer are stored two to a byte: they save size, not time, as bytes "
                "are multiplied."
            )
        elif weights < (REDUCED_BITS if reduced_range else FULL_BITS):
            sentences.append("Weights of fewer than 8 bits are carried in bytes: they save neither size nor time.")
        if reduced_range:
            sentences.append(
                "No weight has more than 7 bits, -63 to 63 in int8 tensors, so that sums of products do not saturate: "
                "x86 CPUs with and without VNNI compute the same integers, both in their fast kernels."
            )
        return sentences + super().bit_sentences(manifest)


def all_bits_sentence(manifest: Manifest) -> str:
    """The beginning of what a card says of an artifact whose weights do not all have 7 bits or fewer."""
    return f"{'Weights' if manifest.bits['weights'] == FULL_BITS else 'Some weights'} have all 8 bits (`--full-range`)."


def _least_cosine(student: Student, model: Model, images: NDArray[np.uint8]) -> float:
    wanted = torch_embedding(IntegerReference(student), torch.device("cpu"))(images)
    return float((wanted * model.run(images)).sum(1).min())
