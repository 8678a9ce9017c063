"""Export for LiteRT on ARM CPUs and phones (docs/decisions/0078-litert-from-the-integer-plan.md)."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from efq.export.coverage.evidence import Evidence
from efq.export.qdq.passes.hardsigmoid_convolutions import HARDSIGMOID_CONVOLUTIONS
from efq.export.qdq.passes.late_clamps import LATE_CLAMPS
from efq.export.qdq.target import QdqTarget
from efq.export.targets.litert.elementwise import WRITERS
from efq.export.targets.litert.evidence import collect_litert_evidence
from efq.export.targets.litert.graph import write_litert
from efq.export.targets.litert.reference import litert_embedding
from efq.export.targets.target import Checked, ExportOptions, Prepared
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.artifact.model_check import check_model
from efq.runtime.backends.model import Model, read_model
from efq.runtime.errors import ParityError, UsageError
from efq.runtime.faces.interface import USUAL, Interface
from efq.runtime.files import atomic_write_bytes
from efq.runtime.litert.folder import LITERT_FILE, LITERT_KEY
from efq.runtime.litert.model import LiteRtModel
from efq.runtime.native.compile import compile_plan
from efq.runtime.native.refusal import UnsupportedNodeError
from efq.runtime.native.steps import Plan
from efq.toolchain.student import Student

LEAST_REFERENCE_COSINE = 0.9999
_REFERENCE_IMAGES = 2  # computed in NumPy, some seconds each for a large network


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiteRt(QdqTarget):
    """Its file is written from the integer steps that model.onnx stands for, and named in that by its SHA-256.

    It is held to two references: the student in integers, of which sums that round otherwise explain a little, and
    those steps with LiteRT's own sums, of which nothing is left to explain.
    """

    def write(self, form: Student) -> onnx.ModelProto:
        model = super().write(form)
        digest = hashlib.sha256(litert_file(model.SerializeToString(), Path(form.backbone))).hexdigest()
        onnx.helper.set_model_props(model, {LITERT_KEY: digest})
        return model

    def open_model(self, path: Path, *, reduced_range: bool, interface: Interface = USUAL) -> Model:
        return LiteRtModel(path, threads=1, content=litert_file(read_model(path), path))

    def collect_evidence(self, path: Path, *, images: NDArray[Any], runs: int) -> Evidence:
        return collect_litert_evidence(litert_file(read_model(path), path), path, images=images, runs=runs)

    def check(
        self,
        prepared: Prepared,
        model: onnx.ModelProto,
        images: NDArray[np.uint8],
        folder: Path,
        options: ExportOptions,
    ) -> Checked:
        checked = super().check(prepared, model, images, folder, options)
        file = model.SerializeToString()
        content = litert_file(file, folder)
        least = _least_cosine(litert_plan(file, folder), content, images[:_REFERENCE_IMAGES])
        if not least >= LEAST_REFERENCE_COSINE:  # NaN too
            message = (
                f"expected LiteRT to compute {LITERT_FILE} as EFQ's own reference of it does, found a cosine of "
                f"{least:.6f}: this version or CPU rounds otherwise (docs/litert.md)"
            )
            raise ParityError(message)
        parity = {**checked.parity, "least_cosine_to_litert_reference": least}
        return dataclasses.replace(
            checked, parity=parity, add_files=lambda place: atomic_write_bytes(place / LITERT_FILE, content)
        )

    def bit_sentences(self, manifest: Manifest) -> list[str]:
        if min(manifest.bits.values()) < 8:
            return ["Integers of fewer than 8 bits are carried in bytes: they save neither size nor time."]
        return []

    def card_sentences(self, manifest: Manifest) -> list[str]:
        return [
            f"`{LITERT_FILE}` is what LiteRT runs; `model.onnx` is the graph it was written from. Sums of two maps are "
            "rounded otherwise than in the integer student, as `parity.json` says. It was checked on this export's CPU."
        ]


def litert_file(content: bytes, path: Path) -> bytes:
    """The .tflite file of the model.onnx in `content`, which came from `path`.

    Raises UsageError for a graph that it cannot hold, IncompatibleArtifactError for one that is none of EFQ's.
    """
    return write_litert(litert_plan(content, path), WRITERS)


def litert_plan(content: bytes, path: Path) -> Plan:
    """The integer steps that the file is written from. Raises as `litert_file` does."""
    try:
        return compile_plan(check_model(content, path))
    except UnsupportedNodeError as error:
        message = f"expected a graph that can be written for LiteRT, found none: {error}"
        raise UsageError(message) from error


def _least_cosine(plan: Plan, content: bytes, images: NDArray[np.uint8]) -> float:
    wanted = litert_embedding(plan)(images)
    with contextlib.closing(LiteRtModel(Path(LITERT_FILE), threads=1, content=content)) as opened:
        return float((wanted * opened.run(images)).sum(1).min())


TARGET = LiteRt(
    name="litert",
    description="LiteRT on ARM CPUs and phones: a .tflite file beside model.onnx, int8 in XNNPACK's kernels",
    passes=(LATE_CLAMPS, HARDSIGMOID_CONVOLUTIONS),
    least_cosine=0.998,
    probe_cosine=0.998,
)
