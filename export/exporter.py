"""From a student to an artifact: graph, integer coverage, parity with the student, files."""

from __future__ import annotations

import dataclasses
import datetime
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from efq.export.artifact.writer import write_artifact
from efq.export.coverage.report import CoverageReport, measure_coverage
from efq.export.qdq.writer import build_qdq_model
from efq.export.reduced_range import weights_for
from efq.export.references.integer import IntegerReference
from efq.export.targets import TargetProfile
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.artifact.parity import ParityRecord
from efq.runtime.backends.model import Model
from efq.runtime.backends.open import BACKENDS, OWN_BACKEND, REDUCED_RANGE
from efq.runtime.errors import ParityError, UsageError
from efq.runtime.versions import ONNXRUNTIME_PACKAGES, installed_versions
from efq.toolchain.networks import torch_embedding
from efq.toolchain.student import Student

_CHECK_IMAGES = 8
_TOOLS = ("efq", "numpy", "onnx", "onnx-ir", *ONNXRUNTIME_PACKAGES, "torch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """What an export wrote: folder, manifest, coverage (None when no engine was built), parity, model bytes.

    engine: version, build seconds, plan bytes and layers of the engine built with it, for targets that have one.
    notes: a sentence on each change that the target asked of the student.
    """

    directory: Path
    manifest: Manifest
    coverage: CoverageReport | None
    parity: Mapping[str, Any]
    model_bytes: int
    engine: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "directory": str(self.directory),
            "model_bytes": self.model_bytes,
            "parity": dict(self.parity),
            "coverage": None if self.coverage is None else self.coverage.to_dict(),
            "engine": None if self.engine is None else dict(self.engine),
            "notes": list(self.notes),
        }


def export_student(
    student: Student,
    profile: TargetProfile,
    directory: Path,
    *,
    bits: int,
    full_range: bool = False,
    name: str | None = None,
    allow_float: bool = False,
    force: bool = False,
) -> Export:
    """Write the artifact of `student` for `profile` into `directory`.

    Weights of 8 bits are quantized anew to 7, whose products are exact on every CPU, unless `full_range`.
    Raises UsageError when the student was not made for `bits` or `full_range`, or the folder is taken, CoverageError
    (exit 3) when multiply-adds run in float and `allow_float` is not given, ParityError when the artifact's embeddings
    are not the student's. Nothing is written then.
    """
    check_bits(student, bits)
    images = check_images(student)
    student, reduction = weights_for(student, profile, images, full_range=full_range)
    model = build_qdq_model(student, profile)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        backend = OWN_BACKEND[profile.name]
        coverage = measure_coverage(path, images=images, backend=backend)
        coverage.check(allow_float=allow_float)
        least = _least_cosine(
            student, BACKENDS[backend](path, threads=1, reduced_range=student.recipe[REDUCED_RANGE]), images
        )
    if not least >= profile.least_cosine:  # NaN too
        message = (
            f"expected the exported graph to give the student's embeddings, found a cosine of {least:.6f}: this CPU's "
            "integer kernels round or saturate differently (see docs/results.md), or the student file is damaged"
        )
        raise ParityError(message)
    changes = None if reduction is None else reduction.to_dict()
    manifest = make_manifest(student, profile, coverage, name, changes)
    parity = {"images": len(images), "least_cosine_to_integer_student": least}
    write_artifact(
        directory,
        model=model,
        manifest=manifest,
        training_hashes=student.training_hashes,
        parity=ParityRecord(export_check=parity),
        force=force,
    )
    size = (directory / "model.onnx").stat().st_size
    notes = () if reduction is None else (str(reduction),)
    return Export(
        directory=directory, manifest=manifest, coverage=coverage, parity=parity, model_bytes=size, notes=notes
    )


def check_bits(student: Student, bits: int) -> None:
    """Raises UsageError when the student's weights were not made for `bits` bits; activations may have others.

    Where those of 8 bits use 7, either number may be said of them.
    """
    found, used = student.recipe["weight_bits"], student.bits["weights"]
    if bits not in (found, used):
        described = f"{found}-bit weights" if used == found else f"{found}-bit weights, of which {used} bits are used"
        message = (
            f"expected a student with {bits}-bit weights for --bits {bits}, found {described}: distill one with a "
            f"recipe of weight_bits = {bits}, or export with --bits {found}"
        )
        raise UsageError(message)


def check_images(student: Student) -> NDArray[np.uint8]:
    """A few smooth random images of the student's size, (8, H, W, 3): they exercise the graph, they are no faces."""
    generator = np.random.default_rng(0)
    height, width = student.contract.height, student.contract.width
    coarse = torch.from_numpy(generator.uniform(0, 255, (_CHECK_IMAGES, 3, 8, 8)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return smooth.permute(0, 2, 3, 1).round().byte().contiguous().numpy()


def make_manifest(
    student: Student,
    profile: TargetProfile,
    coverage: CoverageReport | None,
    name: str | None,
    requantized: Mapping[str, Any] | None = None,
) -> Manifest:
    """The manifest of an artifact of `student`; `requantized` says how it was changed for a target, if it was."""
    recipe = dict(student.recipe) | {"activations": dict(student.activations), "training": dict(student.training)}
    return Manifest(
        name=name or _name(student, profile),
        target=profile.name,
        bits=student.bits,
        backbone=student.backbone,
        recipe=recipe | ({} if requantized is None else {"requantized": dict(requantized)}),
        input=student.contract,
        embedding_size=student.embedding_size,
        teacher=dict(student.teacher),
        data=dict(student.data),
        licence=student.teacher["licence"],
        thresholds=dict(student.thresholds),
        coverage={} if coverage is None else coverage.to_dict(),
        tools=installed_versions(_tools(profile)),
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


def _tools(profile: TargetProfile) -> tuple[str, ...]:
    """The packages whose versions matter to an artifact."""
    return (*_TOOLS, "openvino") if profile.name == "openvino" else _TOOLS


def _name(student: Student, profile: TargetProfile) -> str:
    return f"{student.backbone}-w{student.bits['weights']}a{student.bits['activations']}-{profile.name}"


def _least_cosine(student: Student, model: Model, images: NDArray[np.uint8]) -> float:
    wanted = torch_embedding(IntegerReference(student), torch.device("cpu"))(images)
    return float((wanted * model.run(images)).sum(1).min())
